"""The Python SDK: `Tide(url, token)` and the views it returns. Synchronous, typed; imports nothing of tidegrid but domain.

    from tidegrid.client import Tide

    with Tide("http://127.0.0.1:8470", token) as tide:
        job = tide.submit(app="hello", params={"name": "sea"})
        print(tide.wait(job.id).state)
"""

from tidegrid.client.tide import Tide
from tidegrid.client.views import Attempt, Cost, Event, Execution, Job, Output, Page

__all__ = ["Attempt", "Cost", "Event", "Execution", "Job", "Output", "Page", "Tide"]
