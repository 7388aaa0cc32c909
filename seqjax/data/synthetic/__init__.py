"""Generated tasks: small problems that tell recurrent cells apart, each drawn from a seed."""

from seqjax.data.synthetic.adding import Adding
from seqjax.data.synthetic.addition import BinaryAddition
from seqjax.data.synthetic.agreement import Agreement
from seqjax.data.synthetic.arithmetic import Arithmetic
from seqjax.data.synthetic.brackets import Dyck
from seqjax.data.synthetic.copying import Copy
from seqjax.data.synthetic.fibonacci import Fibonacci
from seqjax.data.synthetic.spelling import Spelling
from seqjax.data.synthetic.tasks import Task, TaskStream, task_batches, task_record
from seqjax.data.synthetic.waves import MackeyGlass, Waves
from seqjax.data.synthetic.years import YearExtraction

__all__ = [
    "Adding",
    "Agreement",
    "Arithmetic",
    "BinaryAddition",
    "Copy",
    "Dyck",
    "Fibonacci",
    "MackeyGlass",
    "Spelling",
    "Task",
    "TaskStream",
    "Waves",
    "YearExtraction",
    "task_batches",
    "task_record",
]
