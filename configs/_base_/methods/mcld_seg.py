# MCLD per pixel, on pixels drawn equally from the classes; with cross entropy.
method = dict(
    losses=dict(mcld=dict(type='MCLDLoss', tau=0.2, queue_size=65536, max_rows=1024)),
)
