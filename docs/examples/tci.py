"""The code interpreter: run Python in a sandbox that remembers."""

# %% preparation
from together_flows import Together
from together_flows.api import tci

client = Together()

# %% tci.execute
first = client.send(tci.execute(code="x = 6 * 7", language="python"))
second = client.send(tci.execute(code="print(x)", session_id=first.data.session_id))
printed = [output.data for output in second.data.outputs]

# %% tci.list_sessions
sessions = client.send(tci.list_sessions()).data
