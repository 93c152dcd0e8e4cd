import type { V1ContainerStatus, V1Pod, V1PodCondition } from "@kubernetes/client-node";
import t from "tap";
import type { Spec } from "../../../drivers/driver.ts";
import { pathOf } from "../../../drivers/kubernetes/cluster.ts";
import { podSpec, readLabels, writeMeta } from "../../../drivers/kubernetes/definition.ts";
import { admissionFault, mayPass, Refusal, refusedFault } from "../../../drivers/kubernetes/faults.ts";
import { currentPod, podStateOf } from "../../../drivers/kubernetes/observe.ts";
import { labelsFor } from "../conformance.ts";

const status = (state: object, more: object = {}) =>
  ({ name: "app", image: "", imageID: "", ready: false, restartCount: 0, state, ...more }) as V1ContainerStatus;
const pod = (containerStatuses: V1ContainerStatus[], more: object = {}): V1Pod => ({ status: { phase: "Pending", containerStatuses, ...more } });
const waiting = (reason: string, message = "") => pod([status({ waiting: { reason, message } })]);

t.test("what a pod's status comes to", async (t) => {
  const codes = (found: V1Pod) => {
    const podState = podStateOf(found);
    return [podState.is, "code" in podState ? podState.code : undefined];
  };
  t.strictSame(codes({}), ["pending", undefined]);
  t.strictSame(codes(waiting("ContainerCreating")), ["pending", undefined]);
  t.strictSame(codes(pod([status({ running: {} })])), ["running", undefined]);
  // An injected container says nothing of ours.
  t.strictSame(codes(pod([{ ...status({ terminated: { exitCode: 0 } }), name: "istio-init" }, status({ running: {} })])), ["running", undefined]);
  const unschedulable: V1PodCondition = { type: "PodScheduled", status: "False", reason: "Unschedulable", message: "0/3 nodes are available" };
  const placed = (message: string) => codes({ status: { conditions: [{ ...unschedulable, message }] } });
  t.strictSame(placed("0/3 nodes are available"), ["struggling", "CONTAINER_UNSCHEDULABLE"]);
  const byRules = "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: true}, 2 node(s) didn't match Pod's node affinity/selector.";
  t.strictSame(placed(byRules), ["struggling", "CONTAINER_UNSCHEDULABLE"]);
  for (const full of [
    "2 Insufficient cpu",
    "2 Insufficient memory",
    "2 Too many pods",
    "2 node(s) didn't have free ports for the requested pod ports",
  ])
    t.strictSame(placed(`0/3 nodes are available: 1 node(s) had untolerated taint {gpu: true}, ${full}.`), ["struggling", "NO_CAPACITY"], full);
  t.strictSame(codes({ status: { conditions: [{ ...unschedulable, reason: "SchedulingGated" }] } }), ["pending", undefined]);
  t.strictSame(codes(waiting("InvalidImageName")), ["failing", "IMAGE_REFERENCE_INVALID"]);
  t.strictSame(codes(waiting("CreateContainerConfigError", 'secret "x" not found')), ["struggling", "SPEC_REFUSED"]);
});

t.test("why an image was not pulled, in the words of containerd, CRI-O and registries", async (t) => {
  for (const [failure, is, code] of [
    [
      'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/x/y:1": failed to resolve reference "docker.io/x/y:1": docker.io/x/y:1: not found',
      "failing",
      "IMAGE_NOT_FOUND",
    ],
    ["reading manifest 1 in quay.io/x/y: manifest unknown", "failing", "IMAGE_NOT_FOUND"],
    ["no match for platform in manifest: not found", "failing", "IMAGE_NOT_FOUND"],
    [
      "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
      "failing",
      "PULL_DENIED",
    ],
    [
      "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://r/token: 403 Forbidden",
      "failing",
      "PULL_DENIED",
    ],
    ['failed to do request: Head "https://r/v2/x/manifests/1": dial tcp: lookup r: no such host', "struggling", "REGISTRY_UNREACHABLE"],
    ["failed to do request: tls: failed to verify certificate: x509: certificate signed by unknown authority", "struggling", "REGISTRY_UNREACHABLE"],
    ["toomanyrequests: You have reached your pull rate limit", "struggling", "REGISTRY_UNREACHABLE"],
    ["failed to extract layer: write /x: no space left on device", "struggling", "NO_CAPACITY"],
  ] as const) {
    t.match(podStateOf(waiting("ErrImagePull", failure)), { is, code }, failure);
  }
  const image = `127.0.0.1:5000/v2/berth/later@sha256:${"1".repeat(64)}`;
  const long = `rpc error: code = Unavailable desc = failed to pull and unpack image "${image}": failed to resolve reference "${image}": failed to do request: Head "https://${image}": dial tcp 127.0.0.1:5000: connect: connection refused`;
  const unreachable = podStateOf(waiting("ErrImagePull", long.repeat(2)));
  t.match(
    unreachable,
    { is: "struggling", code: "REGISTRY_UNREACHABLE", reason: /^rpc error.* … .*connect: connection refused$/ },
    "a long one keeps its end",
  );
  t.ok("reason" in unreachable && unreachable.reason.length <= 600);
  const vague = podStateOf(waiting("ImagePullBackOff", `Back-off pulling image "r/x@sha256:${"4".repeat(64)}"`));
  t.match(vague, { is: "struggling", vague: true }, "what says no more than that is no cause");
});

t.test("how a container ended is what it did, also while the cluster waits before it starts it again", async (t) => {
  t.match(podStateOf(pod([status({ terminated: { exitCode: 7, reason: "Error" } })])), { is: "ended", exit: { code: 7, outOfMemory: false } });
  const lastState = { terminated: { exitCode: 137, reason: "OOMKilled" } };
  t.match(podStateOf(pod([status({ waiting: { reason: "CrashLoopBackOff" } }, { lastState })])), {
    is: "ended",
    exit: { code: 137, outOfMemory: true },
  });
  t.match(podStateOf({ status: { phase: "Failed", reason: "Evicted", message: "ephemeral local storage usage exceeds the total limit" } }), {
    is: "ended",
    reason: /Evicted: ephemeral/,
  });
});

t.test("of several pods the one counts that is to stay", async (t) => {
  const named = (name: string, at: string, more: object = {}, phase = "Running") =>
    ({ metadata: { name, creationTimestamp: at, ...more }, status: { phase } }) as unknown as V1Pod;
  const leaving = named("leaving", "2026-01-03T00:00:00Z", { deletionTimestamp: "2026-01-03T00:01:00Z" });
  const evicted = named("evicted", "2026-01-02T00:00:00Z", {}, "Failed");
  const older = named("older", "2026-01-01T00:00:00Z");
  const newer = named("newer", "2026-01-01T00:01:00Z");
  t.equal(currentPod([leaving, older, newer, evicted])?.metadata?.name, "newer");
  t.equal(currentPod([leaving, evicted])?.metadata?.name, "evicted");
  t.equal(currentPod([]), undefined);
});

t.test("an answer of the API has one meaning in the house", async (t) => {
  const action = { doing: "Applying deployments x", verb: "apply", resource: "deployments", namespace: "berth" };
  const code = (status: number, message: string) => refusedFault(new Refusal(status, "", message), action).code;
  t.equal(code(401, "Unauthorized"), "ENGINE_ACTION_DENIED");
  t.equal(code(403, 'deployments.apps is forbidden: User "x" cannot patch resource "deployments"'), "ENGINE_ACTION_DENIED");
  t.equal(code(403, 'admission webhook "validate.kyverno.svc" denied the request: no image by digest'), "SPEC_REFUSED");
  t.equal(code(403, 'pods "x" is forbidden: exceeded quota: compute'), "NO_CAPACITY");
  t.equal(code(403, 'secrets "x" is forbidden: unable to create new content in namespace berth because it is being terminated'), "ENGINE_FAILED");
  t.equal(code(404, 'namespaces "berth" not found'), "ENGINE_FAILED");
  t.equal(code(409, 'Apply failed with 1 conflict: conflict with "kubectl"'), "SPEC_REFUSED");
  t.equal(code(422, 'Deployment.apps "x" is invalid'), "SPEC_REFUSED");
  t.equal(code(500, "etcdserver: request timed out"), "ENGINE_FAILED");
  t.equal(admissionFault("x", 'pods "x-1" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi').code, "SPEC_REFUSED");
  t.ok(mayPass(new Refusal(429, "", "busy"), "get"));
  t.ok(mayPass(new Refusal(409, "Conflict", "the object has been modified"), "apply"));
  t.notOk(mayPass(new Refusal(409, "Conflict", 'Apply failed with 1 conflict: conflict with "kubectl"'), "apply"));
  t.notOk(mayPass(new Refusal(409, "Conflict", "Precondition failed"), "delete"));
});

t.test("labels come back whatever they hold, and are labels only where they may be", async (t) => {
  const labels = { store: "a b", environment: "ends-with-", container: "c".repeat(100), generation: 3 };
  const meta = writeMeta("x", labels, 80);
  t.strictSame(readLabels(meta), labels);
  t.strictSame(Object.keys(meta.labels).toSorted(), ["app.kubernetes.io/managed-by", "berth.generation", "berth.port", "berth.service"]);
  t.equal(readLabels({ ...meta, labels: {} }), undefined, "what does not bear berth's mark is not berth's");
});

t.test("sizes that are left out leave nothing of themselves", async (t) => {
  const sizes = { cpu: 0.1, memoryMb: 64, shmMb: 0, storageGb: 0, gpu: 2 };
  const spec: Spec = { service: "x", labels: labelsFor("x"), image: "r/x", env: {}, ...sizes, readiness: { kind: "running" }, graceMs: 1 };
  const { containers, volumes, imagePullSecrets } = podSpec(spec, [], "default");
  t.strictSame(
    [volumes, imagePullSecrets, containers[0]?.ports, containers[0]?.readinessProbe, containers[0]?.volumeMounts],
    Array(5).fill(undefined),
  );
  t.strictSame(containers[0]?.resources, {
    requests: { cpu: "100m", memory: "64Mi" },
    limits: { cpu: "100m", memory: "64Mi", "nvidia.com/gpu": "2" },
  });
});

t.test("no share of a core is rounded to no limit", async (t) => {
  const sizes = { cpu: 1e-10, memoryMb: 64, shmMb: 0, storageGb: 0, gpu: 0 };
  const spec: Spec = { service: "x", labels: labelsFor("x"), image: "r/x", env: {}, ...sizes, readiness: { kind: "running" }, graceMs: 1 };
  t.match(podSpec(spec, [], "default").containers[0]?.resources, { requests: { cpu: "1m" }, limits: { cpu: "1m" } });
});

t.test("paths are those of the API, whatever a name holds", async (t) => {
  t.equal(pathOf("berth", "deployments"), "/apis/apps/v1/namespaces/berth/deployments");
  t.equal(pathOf("berth", "pods", "x-1", "log"), "/api/v1/namespaces/berth/pods/x-1/log");
  t.equal(pathOf("berth", "secrets", "../../x"), "/api/v1/namespaces/berth/secrets/..%2F..%2Fx");
});
