"""report.html: what a certification found, to open in a browser.

The page is one file and fetches nothing. Its charts are Vega-Lite: 0.9 MB of
script where those of other libraries take several, and a chart is plain data,
which a test reads without a browser. `vl_convert` has the script, and is
imported when a page is written; without it only the pages are missing.
"""
