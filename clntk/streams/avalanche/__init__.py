"""What builds Avalanche's objects: imported only where training starts, since Avalanche takes seconds to import."""
