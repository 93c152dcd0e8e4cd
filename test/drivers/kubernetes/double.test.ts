import { request } from "node:https";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { validate as namespace } from "kubernetes-models/_schemas/IoK8sApiCoreV1Namespace";
import { validate as account } from "kubernetes-models/_schemas/IoK8sApiCoreV1ServiceAccount";
import { validate as role } from "kubernetes-models/_schemas/IoK8sApiRbacV1Role";
import { validate as binding } from "kubernetes-models/_schemas/IoK8sApiRbacV1RoleBinding";
import t from "tap";
import { definition, podSpec } from "../../../drivers/kubernetes/definition.ts";
import type { PodSecurity } from "../../../drivers/kubernetes/security.ts";
import { podSecurityRefusal } from "../../fixtures/kubernetes/pod-security.ts";
import { strictFaults } from "../../fixtures/kubernetes/strict.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { labelsFor } from "../conformance.ts";
import { openWorld, RBAC, type KubernetesWorld } from "./test-cluster.ts";

/** What a real API server refuses, the double must refuse too, or what passes here proves nothing. */
const rbac = join(tempFolder(t), "rbac.yaml");
// With what the driver has no use for.
const wide = (text: string, verbs: string, more: string) => text.replace(verbs, `${verbs}, ${more}`);
const manifest = wide(readFileSync(RBAC, "utf8"), '"get", "list", "create"', '"patch", "delete"');
writeFileSync(rbac, wide(manifest, '"get", "create", "patch"', '"delete"'));
const { cluster } = await openWorld(t, { rbac });

const sizes = { cpu: 0.5, memoryMb: 256, shmMb: 64, storageGb: 21, gpu: 0, graceMs: 1, port: 80 };
const readiness = { kind: "port" as const };
const objects = definition(
  { service: "x", labels: labelsFor("x"), image: "r/x", env: { A: "b" }, ...sizes, readiness },
  { pull: { existing: [], own: '{"auths":{}}' }, security: "default", placement: {} },
);
const DEPLOYMENTS = "/apis/apps/v1/namespaces/berth/deployments";
const SERVICES = "/api/v1/namespaces/berth/services";
const SECRETS = "/api/v1/namespaces/berth/secrets";

type Body = { metadata: Record<string, unknown>; [rest: string]: unknown };
/** A copy of what the driver sends, with one thing wrong. */
const but = (object: object | undefined, act: (copy: never) => void) => {
  const copy = structuredClone(object) as Body;
  act(copy as never);
  return copy;
};

t.test("an object with one thing wrong is refused, for that", async (t) => {
  type Deployment = { spec: { selector: unknown; template: { spec: { restartPolicy: string; containers: Record<string, unknown>[] } } } };
  const container = (change: object) => (copy: Deployment) => Object.assign(copy.spec.template.spec.containers[0] ?? {}, change);
  const cases: [what: string, path: string, object, status: number, says: RegExp][] = [
    [
      "an unknown field",
      `${DEPLOYMENTS}/x`,
      but(objects.deployment(), (copy: Body) => (copy["spec"] = { ...(copy["spec"] as object), replica: 1 })),
      400,
      /unknown field "spec.replica"/,
    ],
    [
      "an unknown field, deep within",
      `${DEPLOYMENTS}/x`,
      but(objects.deployment(), container({ readinessProbe: { tcpSocket: { port: 80 }, period: 1 } })),
      400,
      /readinessProbe.period/,
    ],
    ["a wrong type", `${DEPLOYMENTS}/x`, but(objects.deployment(), container({ image: 1 })), 400, /image/],
    ["a field that is missing", `${DEPLOYMENTS}/x`, but(objects.deployment(), (copy: Deployment) => delete copy.spec.selector), 400, /selector/],
    ["another kind", `${DEPLOYMENTS}/x`, but(objects.deployment(), (copy: Body) => (copy["kind"] = "StatefulSet")), 400, /StatefulSet/],
    ["another apiVersion", `${DEPLOYMENTS}/x`, but(objects.deployment(), (copy: Body) => (copy["apiVersion"] = "apps/v1beta1")), 400, /v1beta1/],
    ["a name that is not the URL's", `${DEPLOYMENTS}/y`, objects.deployment(), 400, /does not match/],
    [
      "a name that is none",
      `${DEPLOYMENTS}/X_x`,
      but(objects.deployment(), ({ metadata }: Body) => (metadata["name"] = "X_x")),
      422,
      /metadata.name/,
    ],
    [
      "a Service's name that begins with a digit",
      `${SERVICES}/1x`,
      but(objects.service(), ({ metadata }: Body) => (metadata["name"] = "1x")),
      422,
      /metadata.name/,
    ],
    [
      "a label that is none",
      `${DEPLOYMENTS}/x`,
      but(objects.deployment(), ({ metadata }: Body) => (metadata["labels"] = { a: "ends-" })),
      422,
      /metadata.labels/,
    ],
    [
      "a selector that does not fit",
      `${DEPLOYMENTS}/x`,
      but(objects.deployment(), (copy: Deployment) => (copy.spec.selector = { matchLabels: { a: "b" } })),
      422,
      /does not match template/,
    ],
    [
      "a pod that is not started again",
      `${DEPLOYMENTS}/x`,
      but(objects.deployment(), (copy: Deployment) => (copy.spec.template.spec.restartPolicy = "Never")),
      422,
      /restartPolicy/,
    ],
    [
      "more requested than allowed",
      `${DEPLOYMENTS}/x`,
      but(objects.deployment(), container({ resources: { requests: { cpu: "2" }, limits: { cpu: "1500m" } } })),
      422,
      /less than or equal/,
    ],
    [
      "a volume that is not there",
      `${DEPLOYMENTS}/x`,
      but(objects.deployment(), container({ volumeMounts: [{ name: "none", mountPath: "/x" }] })),
      422,
      /volumeMounts/,
    ],
    [
      "a port that is none",
      `${SERVICES}/x`,
      but(objects.service(), (copy: { spec: { ports: { port: number }[] } }) => copy.spec.ports.forEach((port) => (port.port = 70_000))),
      422,
      /port/,
    ],
    ["a Secret that is no base64", `${SECRETS}/x.env`, but(objects.variables(), (copy: Body) => (copy["data"] = { A: "not base64!" })), 400, /byte/],
    ["a Secret's key that is none", `${SECRETS}/x.env`, but(objects.variables(), (copy: Body) => (copy["data"] = { "a/b": "" })), 422, /data/],
    [
      "docker credentials that are no JSON",
      `${SECRETS}/x.pull`,
      but(objects.pull(), (copy: Body) => (copy["data"] = { ".dockerconfigjson": "eA==" })),
      422,
      /redacted/,
    ],
    ["another namespace", "/api/v1/namespaces/other/secrets/x.env", objects.variables(), 403, /in the namespace "other"/],
  ];
  for (const [what, path, object, status, says] of cases) {
    const answer = await ask("PATCH", `${path}?fieldManager=berth&fieldValidation=Strict`, object);
    t.equal(answer.status, status, `${what}: ${answer.text}`);
    t.match(answer.text, says);
  }
  t.equal((await ask("PATCH", `${SECRETS}/x.env`, objects.variables())).status, 400, "no field manager");
  t.equal((await ask("PATCH", `${SECRETS}/x.env?fieldManager=berth`, objects.variables(), "application/merge-patch+json")).status, 415);
  t.equal((await ask("POST", `${SECRETS}/x.env`, objects.variables())).status, 405);
  t.equal((await ask("POST", SECRETS, objects.variables())).status, 415);
  t.strictSame(
    cluster.objects.all("deployments").concat(cluster.objects.all("secrets"), cluster.objects.all("services")),
    [],
    "and nothing was kept",
  );
});

t.test("what is applied belongs to who applied it", async (t) => {
  const one = `${SECRETS}/x.env?fieldManager=one`;
  const two = `${SECRETS}/x.env?fieldManager=two`;
  t.equal((await ask("PATCH", one, objects.variables())).status, 201);
  const version = cluster.objects.find("secrets", "berth", "x.env")?.metadata.resourceVersion;
  t.equal((await ask("PATCH", one, objects.variables())).status, 200);
  t.equal(cluster.objects.find("secrets", "berth", "x.env")?.metadata.resourceVersion, version, "the same again changes nothing");
  const other = but(objects.variables(), (copy: Body) => (copy["data"] = { A: "eA==", B: "eA==" }));
  const refused = await ask("PATCH", two, other);
  t.equal(refused.status, 409);
  t.match(refused.text, /conflict with "one" using v1: \.data\.A/);
  t.equal((await ask("PATCH", `${two}&force=true`, other)).status, 200);
  t.equal((await ask("PATCH", one, objects.variables())).status, 409, "taken by force, it is the other's");
  const less = but(other, (copy: Body) => (copy["data"] = { A: "eA==" }));
  t.equal((await ask("PATCH", two, less)).status, 200);
  t.strictSame(cluster.objects.find("secrets", "berth", "x.env")?.data, { A: "eA==" }, "what its owner names no more is gone");
  t.equal(
    (
      await ask(
        "PATCH",
        two,
        but(less, (copy: Body) => (copy["type"] = "other")),
      )
    ).status,
    409,
  );
  t.equal(
    (
      await ask(
        "PATCH",
        `${two}&force=true`,
        but(less, (copy: Body) => (copy["type"] = "other")),
      )
    ).status,
    422,
    "some fields never change",
  );
  const anotherUid = but(less, (copy: Body) => Object.assign(copy["metadata"] as object, { uid: "another" }));
  t.match(await ask("PATCH", two, anotherUid), { status: 422, text: /metadata\.uid: Invalid value: "another": field is immutable/ });
  t.equal((await ask("DELETE", `${SECRETS}/x.env`, { preconditions: { uid: "another" } })).status, 409);
  t.equal((await ask("DELETE", `${SECRETS}/x.env`)).status, 200);
  t.equal((await ask("DELETE", `${SECRETS}/x.env`)).status, 404);
  t.equal((await ask("GET", `${SECRETS}/x.env`)).status, 404);
  t.equal((await ask("PATCH", two, anotherUid)).status, 409, "an object with a uid is none to create");
});

t.test("the API refuses anonymous callers, and actions that the manifest does not name", async (t) => {
  t.equal((await ask("GET", DEPLOYMENTS, undefined, undefined, "wrong")).status, 401);
  const answer = await ask("GET", SECRETS);
  t.equal(answer.status, 403);
  t.match(answer.text, /cannot list resource "secrets" in API group "" in the namespace "berth"/);
  t.equal((await ask("DELETE", "/api/v1/namespaces/berth/pods/x")).status, 403);
  t.equal((await ask("GET", "/api/v1/namespaces/berth/configmaps")).status, 404);
});

t.test("conf/kubernetes/rbac.yaml is what the API takes", async (t) => {
  const schemas: Record<string, (data: unknown) => boolean> = { Namespace: namespace, ServiceAccount: account, Role: role, RoleBinding: binding };
  const manifests = parseAllDocuments(readFileSync(RBAC, "utf8")).map((document) => document.toJS() as { kind: string });
  t.strictSame(
    manifests.map(({ kind }) => kind),
    Object.keys(schemas),
  );
  for (const manifest of manifests) t.strictSame(strictFaults(manifest.kind, manifest, schemas[manifest.kind]), []);
});

function ask(
  method: string,
  path: string,
  body?: object,
  type = "application/apply-patch+yaml",
  token: KubernetesWorld["cluster"]["token"] = cluster.token,
) {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const text = body === undefined ? "" : JSON.stringify(body);
  const headers = { authorization: `Bearer ${token}`, "content-type": type, "content-length": String(Buffer.byteLength(text)) };
  request(`${cluster.url}${path}`, { method, headers, ca: cluster.ca }, (response) => {
    let output = "";
    response.setEncoding("utf8").on("data", (piece: string) => (output += piece));
    response.on("end", () => resolve({ status: response.statusCode ?? 0, text: (JSON.parse(output) as { message?: string }).message ?? "" }));
  })
    .on("error", reject)
    .end(text);
  return promise;
}

t.test("a pod that the pod security standard of the namespace forbids is refused, for what the standard names", async (t) => {
  const pod = (security: PodSecurity, change: object = {}) => {
    const spec = podSpec({ service: "x", labels: labelsFor("x"), image: "r/x", env: {}, ...sizes, readiness }, [], security);
    const [container] = spec.containers;
    return { ...spec, containers: [{ ...container, securityContext: { ...container?.securityContext, ...change } }] } as unknown as Record<
      string,
      unknown
    >;
  };
  for (const security of ["default", "none", "restricted"] as const) t.equal(podSecurityRefusal("baseline", pod(security)), undefined, security);
  t.match(podSecurityRefusal("baseline", pod("default", { privileged: true })), /^violates PodSecurity "baseline:latest": privileged/);
  t.match(podSecurityRefusal("baseline", pod("none", { capabilities: { add: ["NET_RAW"] } })), /must not include "NET_RAW"/);
  t.match(podSecurityRefusal("baseline", { ...pod("default"), hostNetwork: true }), /host namespaces/);
  t.equal(podSecurityRefusal("restricted", pod("restricted")), undefined);
  t.match(podSecurityRefusal("restricted", pod("none")), /^violates PodSecurity "restricted:latest": runAsNonRoot != true \([^,]*$/);
  t.match(podSecurityRefusal("restricted", pod("default")), /unrestricted capabilities.*drop=\["ALL"\].*runAsNonRoot/);
  t.match(podSecurityRefusal("restricted", pod("restricted", { allowPrivilegeEscalation: true })), /allowPrivilegeEscalation != false/);
  t.match(podSecurityRefusal("restricted", { ...pod("restricted"), securityContext: { runAsNonRoot: true } }), /seccompProfile/);
});
