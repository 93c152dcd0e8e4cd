import t from "tap";
import {
  CONTAINER_TABLE,
  CONTAINER_WIRE_STATES,
  PASSING_CONTAINER_STATES,
  nextState,
  type TransitionTable,
  IMAGE_TABLE,
  IMAGE_WIRE_STATES,
  PASSING_IMAGE_STATES,
} from "../../../control/model/states.ts";

function reachable(table: TransitionTable<string, string>, firsts: readonly string[]): Set<string> {
  const reached = new Set(firsts);
  for (const state of reached) for (const to of Object.values(table[state] ?? {})) if (to !== undefined) reached.add(to);
  return reached;
}

t.test("every passing state has a clock", async (t) => {
  for (const state of PASSING_CONTAINER_STATES) t.equal(nextState(CONTAINER_TABLE, state, "timedOut"), "ERROR", state);
  for (const state of PASSING_IMAGE_STATES) t.equal(nextState(IMAGE_TABLE, state, "timedOut"), "ERROR", state);
});

t.test("a state that may last for ever has none", async (t) => {
  for (const state of ["STARTED", "USER_STOPPED", "SYSTEM_STOPPED", "ERROR"] as const)
    t.equal(nextState(CONTAINER_TABLE, state, "timedOut"), undefined, state);
  for (const state of ["READY", "ERROR", "DELETED"] as const) t.equal(nextState(IMAGE_TABLE, state, "timedOut"), undefined, state);
});

t.test("every state is reached from the first ones", async (t) => {
  t.same([...reachable(CONTAINER_TABLE, ["USER_STOPPED", "SYSTEM_STOPPED"])].toSorted(), Object.keys(CONTAINER_TABLE).toSorted());
  t.same([...reachable(IMAGE_TABLE, ["PENDING_VALIDATION"])].toSorted(), Object.keys(IMAGE_TABLE).toSorted());
});

t.test("an error is left by a request or by a healthy observation, and by nothing else", async (t) => {
  t.same(CONTAINER_TABLE.ERROR, { startWished: "PENDING_START", stopWished: "PENDING_USER_STOP", foundRunning: "STARTED" });
});

t.test("the words on the wire are those that clients compare", async (t) => {
  t.same(CONTAINER_WIRE_STATES, {
    PENDING_START: "pending start",
    STARTING: "starting",
    STARTED: "started",
    CHECKING: "checking",
    PENDING_USER_STOP: "pending user stop",
    PENDING_SYSTEM_STOP: "pending system stop",
    STOPPING: "stopping",
    USER_STOPPED: "stopped by user",
    SYSTEM_STOPPED: "stopped by system",
    ERROR: "error",
  });
  t.same(IMAGE_WIRE_STATES, {
    PENDING_VALIDATION: "pending validation",
    VALIDATING: "validating",
    READY: "ready",
    ERROR: "error",
    DELETED: "deleted",
  });
});
