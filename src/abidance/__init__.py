# SPDX-License-Identifier: BSD-2-Clause
"""Abidance: a conformance suite for hypervisor ABIs."""
