"""Look into a connected space: find the items of any modality that are nearest to anything."""
