import t from "tap";
import { accessRequirement, authorize, parseV2Path, splitTarget, type V2Path } from "../../../gateway/registry/authorize.ts";
import { createRevokedGrants, type TokenGrant } from "../../../gateway/registry/verify-token.ts";
import { Fault } from "../../../lib/fault.ts";

/** An entry of a token's access list: `name:action,action`. */
const entry = (text: string, type = "repository") => {
  const [name = "", actions = ""] = text.split(":");
  return { type, name, actions: actions.split(",") };
};
const grantOf = (...entries: string[]): TokenGrant => ({ subject: "ada", issuedAt: 100, access: entries.map((one) => entry(one)) });
const UNNAMED: TokenGrant = { subject: "ada", issuedAt: 100, access: undefined };

type Options = { anonymousPull?: boolean; deletesAreNamed?: boolean; revoked?: ReturnType<typeof createRevokedGrants> };

/** `allowed`, or the code of the fault. `grant` undefined: no token is shown. */
function outcome(request: string, grant: TokenGrant | undefined, options: Options = {}): string {
  const [method = "", target = ""] = request.split(" ");
  const { anonymousPull = false, deletesAreNamed = true, revoked } = options;
  const { path, query } = splitTarget(target);
  const head = { method, target, upgrade: false, header: () => (grant === undefined ? undefined : "Bearer token") };
  const verify = () => grant as TokenGrant;
  try {
    void authorize(head, accessRequirement(parseV2Path(path) as V2Path, method, query, anonymousPull), verify, { deletesAreNamed, revoked });
    return "allowed";
  } catch (error) {
    return error instanceof Fault ? error.code : String(error);
  }
}

t.test("a request needs each right of its own, for each of its repositories", async (t) => {
  const MOUNT = "POST /v2/a/blobs/uploads/?mount=sha256:00&from=b";
  const rows: [request: string, grant: TokenGrant | undefined, expected: string][] = [
    ["GET /v2/a/manifests/1", grantOf("a:pull"), "allowed"],
    ["GET /v2/a/manifests/1", grantOf("b:pull,push,delete"), "SCOPE_INSUFFICIENT"],
    ["GET /v2/a/manifests/1", { ...UNNAMED, access: [entry("a:pull", "registry")] }, "SCOPE_INSUFFICIENT"],
    ["GET /v2/a/manifests/1", undefined, "TOKEN_MISSING"],
    ["PUT /v2/a/manifests/1", grantOf("a:pull"), "SCOPE_INSUFFICIENT"],
    ["PUT /v2/a/manifests/1", grantOf("a:push"), "allowed"],
    ["PUT /v2/a/manifests/1", grantOf("a:*"), "allowed"],
    [MOUNT, grantOf("a:push"), "SCOPE_INSUFFICIENT"],
    [MOUNT, grantOf("a:push", "b:pull"), "allowed"],
    [`${MOUNT}&from=a`, UNNAMED, "REQUEST_INVALID"],
    ["POST /v2/a/blobs/uploads/?from=b;from=c", UNNAMED, "REQUEST_INVALID"],
    ["POST /v2/a/blobs/uploads/?from=..", UNNAMED, "REQUEST_INVALID"],
    ["DELETE /v2/a/blobs/uploads/1", grantOf("a:push"), "allowed"],
    ["DELETE /v2/a/manifests/1", grantOf("a:push,pull"), "SCOPE_INSUFFICIENT"],
    ["DELETE /v2/a/manifests/1", grantOf("a:delete"), "allowed"],
    ["PUT /v2/a/manifests/1", UNNAMED, "allowed"],
    ["DELETE /v2/a/manifests/1", UNNAMED, "SCOPE_INSUFFICIENT"],
  ];
  for (const [request, grant, expected] of rows) t.equal(outcome(request, grant), expected, `${request} ${JSON.stringify(grant?.access)}`);
  t.equal(outcome("DELETE /v2/a/manifests/1", UNNAMED, { deletesAreNamed: false }), "allowed");
});

t.test("reads alone may be public", async (t) => {
  const requests = [
    "GET /v2/a/manifests/1",
    "HEAD /v2/a/blobs/sha256:00",
    "PUT /v2/a/manifests/1",
    "DELETE /v2/a/manifests/1",
    "GET /v2/_catalog",
    "GET /v2/",
  ];
  t.same(
    requests.map((request) => outcome(request, undefined, { anonymousPull: true })),
    ["allowed", "allowed", "TOKEN_MISSING", "TOKEN_MISSING", "TOKEN_MISSING", "TOKEN_MISSING"],
  );
});

t.test("a token from before its revocation grants nothing", async (t) => {
  const revoked = createRevokedGrants();
  const at = (subject: string, issuedAt: number) => outcome("GET /v2/a/manifests/1", { ...UNNAMED, subject, issuedAt }, { revoked });
  revoked.replace([{ login: "ada", until: 100 }]);
  t.same([at("ada", 100), at("ada", 101), at("bob", 100)], ["TOKEN_INVALID", "allowed", "allowed"]);
  revoked.replace([{ login: "ada", until: 100 }, { until: 200 }]);
  t.same([at("ada", 200), at("bob", 200), at("bob", 201)], ["TOKEN_INVALID", "TOKEN_INVALID", "allowed"], "of all users");
  revoked.replace([]);
  t.equal(at("ada", 100), "allowed");
});
