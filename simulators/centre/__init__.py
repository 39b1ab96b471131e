"""A simulated 110 centre: `SimulatedCentre` is the whole of it, for tests and for the demo."""

from simulators.centre.faults import Faults
from simulators.centre.replies import Step, read_script
from simulators.centre.server import SimulatedCentre

__all__ = ["Faults", "SimulatedCentre", "Step", "read_script"]
