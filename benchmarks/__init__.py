# SPDX-License-Identifier: BSD-2-Clause
"""Speed, as ratios measured in one run. See `python -m benchmarks --help`."""
