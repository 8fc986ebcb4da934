"""Work for many processes or machines, by Dask: ``batch`` encodes many images. Needs the extra ``distributed``."""
