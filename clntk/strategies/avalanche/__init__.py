"""What subclasses Avalanche: imported only where training starts, since Avalanche takes seconds to import."""
