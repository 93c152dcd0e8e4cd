import t from "tap";
import type { Spec } from "../../../drivers/driver.ts";
import { crashFault } from "../../../drivers/faults.ts";
import { currentTask, type Task } from "../../../drivers/swarm/cluster.ts";
import { constraintsFor, definition, gpuKind } from "../../../drivers/swarm/create-destroy.ts";
import { unplacedFault } from "../../../drivers/swarm/faults.ts";
import {
  addressOf,
  chooseTaskReach,
  observe,
  type Standpoint,
  type SwarmView,
  type TaskDetails,
  taskReachOf,
} from "../../../drivers/swarm/observe.ts";

// A test has one node here: cases of several nodes test the deciding functions.
const node = (id: string, more: object = {}) => ({
  id,
  address: `10.0.0.${id}`,
  ready: true,
  down: false,
  labels: {},
  resources: [],
  cpu: 1,
  memoryMb: 512,
  ...more,
});
const one = { self: "1", nodes: [node("1")] };
const three = {
  self: "1",
  nodes: [node("1"), node("2", { labels: { role: "cvm" } }), node("3", { labels: { role: "datagrok" }, resources: ["NVIDIA-GPU"] })],
};
const BUILT = `sha256:${"a".repeat(64)}`;
const PINNED = `registry.example.com/x@${BUILT}`;
const here: Standpoint = { setting: "auto", inContainer: false, elsewhere: false, platform: "linux" };
const spec = { service: "web", memoryMb: 100 } as Spec;

t.test("tasks are placed by the nodes' role where any has it, and by hand where only one node has the image", async (t) => {
  t.strictSame(constraintsFor(PINNED, "cvm", one), []);
  t.strictSame(constraintsFor(BUILT, "cvm", one), []);
  t.strictSame(constraintsFor(PINNED, "cvm", three), ["node.labels.role==cvm"]);
  t.strictSame(constraintsFor(PINNED, "other", three), []);
  t.strictSame(constraintsFor(BUILT, "cvm", three), ["node.labels.role==cvm", "node.id==1"]);
  t.equal(gpuKind(three), "NVIDIA-GPU");
  t.equal(gpuKind(one), "gpu");
});

t.test("a service goes to the nodes of the host that it is for; one for none, to those of the driver's setting", async (t) => {
  const placed = (more: Partial<Spec>, cluster: typeof one = three) => {
    const whole = {
      ...spec,
      image: PINNED,
      labels: { store: "s", environment: "e", container: "c", generation: 1 },
      env: {},
      cpu: 1,
      gpu: 0,
      ...more,
    };
    return definition({ ...whole, shmMb: 0 }, { network: "n", alsoOn: [], nodeRole: "cvm", pidsLimit: 4_096 }, "address", cluster).TaskTemplate
      ?.Placement?.Constraints;
  };
  t.strictSame(placed({}), ["node.labels.role==cvm"]);
  t.strictSame(placed({ host: "cvm" }), ["node.labels.role==cvm"]);
  t.strictSame(placed({ host: "datagrok" }), ["node.labels.role==datagrok"]);
  t.strictSame(placed({ host: "datagrok" }, one), [], "no node has that role");
});

t.test("the way to a task follows from where berth runs, and from how many nodes there are", async (t) => {
  t.equal(chooseTaskReach(here, one), "address");
  t.equal(chooseTaskReach(here, three), "published");
  t.equal(chooseTaskReach({ ...here, elsewhere: true }, one), "published");
  t.equal(chooseTaskReach({ ...here, platform: "darwin" }, one), "published");
  t.equal(chooseTaskReach({ ...here, inContainer: true }, three), "name");
  t.equal(chooseTaskReach({ ...here, setting: "address" }, three), "address");
  t.equal(taskReachOf(here, true), "published", "as the service was made");
  t.equal(taskReachOf(here, false), "address");
  t.equal(taskReachOf({ ...here, inContainer: true }, false), "name");
});

const status = (State: string, Err = "") => ({ State, Err });
const task = (Status: Task["Status"], more: Partial<Task> = {}): Task => ({
  ID: "t",
  CreatedAt: "2026-01-01T00:00:00.1Z",
  ServiceID: "s",
  DesiredState: "running",
  Status,
  ...more,
});
const taskWith = (more: Partial<TaskDetails>): TaskDetails => ({
  service: { ID: "s", Spec: { Name: "web", Labels: { "berth.container": "c", "berth.store": "x", "berth.generation": "3", "berth.port": "80" } } },
  task: task(status("running")),
  local: undefined,
  bridged: undefined,
  node: undefined,
  ...more,
});
const view: SwarmView = { standpoint: here, engineHost: "127.0.0.1" };

t.test("of a task on another node, the swarm's word is taken; of one here, the engine's", async (t) => {
  t.equal(observe(view, taskWith({}))?.running, true);
  t.equal(observe(view, taskWith({ task: task(status("preparing")) }))?.running, false);
  t.equal(observe(view, taskWith({ task: undefined }))?.running, false);
  t.equal(observe(view, taskWith({ task: task(status("running"), { DesiredState: "shutdown" }) }))?.running, false);
  const failed = { ...status("failed"), ContainerStatus: { ContainerID: "id", ExitCode: 9 } };
  t.match(observe(view, taskWith({ task: task(failed) })), { running: false, exit: { code: 9, outOfMemory: false } });
  const dead = { running: false, code: 137, outOfMemory: true };
  t.match(observe(view, taskWith({ local: dead })), { running: false, exit: { code: 137, outOfMemory: true } }, "before the swarm knows");
  t.notOk(observe(view, taskWith({ task: task(status("rejected", "no such image")) }))?.exit, "none that never ran has an exit code");
});

t.test("a published task is reached on its own node", async (t) => {
  const service = { ...taskWith({}).service, Spec: { ...taskWith({}).service.Spec, EndpointSpec: { Ports: [{ TargetPort: 80 }] } } };
  const at = task({ ...status("running"), PortStatus: { Ports: [{ TargetPort: 80, PublishedPort: 32_768 }] } });
  const address = (host: string) => addressOf(view, taskWith({ service, task: at, node: { address: host } }));
  t.strictSame(address("10.0.0.7"), { host: "10.0.0.7", port: 32_768 });
  t.strictSame(address("127.0.0.1"), { host: "127.0.0.1", port: 32_768 });
  t.strictSame(address("0.0.0.0"), { host: "127.0.0.1", port: 32_768 });
  t.equal(addressOf(view, taskWith({ service })), undefined, "not before it has a port");
  t.strictSame(addressOf(view, taskWith({ bridged: "172.18.0.3" })), { host: "172.18.0.3", port: 80 });
  t.equal(addressOf(view, taskWith({})), undefined, "on another machine, there is no way");
});

t.test("the newest run counts, however its time is written", async (t) => {
  const [old, young] = [task(status("failed")), task(status("running"), { CreatedAt: "2026-01-01T00:00:00.12Z" })];
  t.equal(currentTask([old, young]), young);
  t.equal(currentTask([young, old]), young);
  t.equal(currentTask([]), undefined);
});

t.test("what the scheduler says has one meaning in the house", async (t) => {
  const code = (State: string, Err?: string) => unplacedFault(spec, task(status(State, Err)), "net").code;
  t.equal(code("pending", "no suitable node (insufficient resources on 3 nodes)"), "NO_CAPACITY");
  t.equal(code("pending", "no suitable node (host-mode port already in use on 1 node)"), "NO_CAPACITY");
  t.equal(code("pending", "no suitable node (scheduling constraints not satisfied on 3 nodes)"), "CONTAINER_UNSCHEDULABLE");
  t.equal(code("pending", "no suitable node (1 node not available for new tasks; unsupported platform on 2 nodes)"), "CONTAINER_UNSCHEDULABLE");
  t.equal(code("new"), "NO_CAPACITY", "no address was given to it");
});

t.test("an end is reported with its code, and with what is unknown", async (t) => {
  t.match(crashFault(spec, { code: 7, outOfMemory: false }, ["last"]), { code: "CONTAINER_CRASHED", message: /exit code 7/, logs: ["last"] });
  t.match(crashFault(spec, { code: 137, outOfMemory: undefined }, []).message, /perhaps for its memory/);
  t.notMatch(crashFault(spec, { code: 137, outOfMemory: false }, []).message, /memory/);
  t.match(crashFault(spec, { code: 1, outOfMemory: false }, ["exec /server: exec format error"]).message, /linux\/amd64 or linux\/arm64.*script/);
  t.match(crashFault(spec, { code: 127, outOfMemory: false, reason: "exec: no-such: executable file not found in $PATH" }, []).message, /ENTRYPOINT/);
  t.match(crashFault(spec, { code: 137, outOfMemory: true }, []), { code: "CONTAINER_OUT_OF_MEMORY", message: /100 MB/ });
});
