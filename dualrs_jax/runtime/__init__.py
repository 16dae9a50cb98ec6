"""What every long run needs: settings, seeds, rows that survive a crash."""
