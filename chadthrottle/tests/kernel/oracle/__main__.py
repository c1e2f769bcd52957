"""Runs a scenario by its name."""

import sys

from . import both_ways, far, handover, lives, mixed, mptcp, raw, tcp, udp

SUBJECTS = (both_ways, far, handover, lives, mixed, mptcp, raw, tcp, udp)


def main():
    scenarios = {
        function.__name__: function
        for subject in SUBJECTS
        for function in vars(subject).values()
        if getattr(function, "is_scenario", False)
    }
    name, *arguments = sys.argv[1:]
    scenarios[name](*arguments)


main()
