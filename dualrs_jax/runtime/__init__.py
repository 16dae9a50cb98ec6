"""What every long run needs: its processes, preemption, files that survive."""
