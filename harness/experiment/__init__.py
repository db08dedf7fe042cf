"""Asked to identified: an experiment file or flags become a plan of runs. Pure, and free of torch."""
