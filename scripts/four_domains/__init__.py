"""One policy, four domains, and a truth that no arm trains on: does it pay to let agents choose the rewards?

`experiment.py` holds the primary figure and runs the arms, `report.py` prints the tables, `arms.py` says what each arm trains on,
`data.py` writes the data, `truth.py` says which replies are right and `judge.py` judges many of them, `analysis.py` has the
statistics, `rollouts.py` reads the replies of a run, `plots.py` draws.
"""
