"""Labelled images from where they lie: installed packages, a folder of datasets, the user's own arrays."""
