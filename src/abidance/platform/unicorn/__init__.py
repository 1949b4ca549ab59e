# SPDX-License-Identifier: BSD-2-Clause
"""Parts that embedded PC models are made of: CPU, interrupt controllers, timer."""
