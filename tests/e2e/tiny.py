"""Overrides of the `fast` protocol for a study of a minute: one temperature, a tiny network, short runs."""

TINY = {
    "seed": {"relaxation_steps": 12, "runs_per_temperature": 1, "temperatures": [1200], "stride": 10},
    "fpmd": {"steps": 400, "segment_steps": 400},
    "train": {
        "parameters": {
            "network": {"cutoff": 4.0, "layers": 1, "scalars": 16, "vectors": 4},
            "loss": {"occupations": 30.0, "moments": 30.0},
            "epochs": 60,
            "batch_size": 5,
            "learning_rate": 0.01,
        }
    },
    "explore": {
        "parameters": {"temperatures": [1200], "replicas": 2, "steps": 1000, "equilibration": 0, "hysteresis": 0.0},
        "hops": {"tau_min": 10.0},
        "min_fraction": 0.0,
    },
    "learn": {
        "selection": {"offsets": [-20, 0, 20], "hops_per_pathway": 1, "max_frames": 3, "min_verified": 1},
        "criteria": {"max_unseen_mass": 1.0, "min_hops": 1, "max_force_rmse": 50.0, "max_occupation_rmse": 5.0},
        "max_rounds": 2,
        "max_labels": 3,
        "retraining": {"epochs": 5},
    },
    "transport": {
        "parameters": {"temperatures": [1200], "replicas": 2, "steps": 500, "equilibration": 0, "hysteresis": 0.0},
        "hops": {"tau_min": 10.0},
        "min_fraction": 0.0,
        "n_bootstrap": 50,
        "min_hops": 10000,  # never enough: there is a second instalment, and 602
        "max_steps": 1000,
    },
}
