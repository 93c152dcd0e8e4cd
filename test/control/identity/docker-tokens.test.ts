import t from "tap";
import { grantedScopes, isPullOnly, type ScopeRights, parseScopes, formatScopes } from "../../../control/identity/docker-tokens.ts";

const granted = async (requested: string, who?: ScopeRights) => formatScopes(await grantedScopes(parseScopes([requested]), who));
const ANNA: ScopeRights = { admin: false, mayPush: async (repository) => repository === "datagrok/own" };
const ADMIN: ScopeRights = { admin: true, mayPush: async () => true };

t.test("scopes come repeated, several in one, and are joined by what they are about", async (t) => {
  t.same(parseScopes(["repository:a:pull repository:b:pull,push", "repository:a:push,pull"]), [
    { type: "repository", name: "a", actions: ["pull", "push"] },
    { type: "repository", name: "b", actions: ["pull", "push"] },
  ]);
  t.same(parseScopes(["repository:host:5000/a/b:pull"])[0]?.name, "host:5000/a/b");
  for (const nothing of ["", " ", "repository", "repository:a", ":a:pull", "repository::pull"]) t.same(parseScopes([nothing]), [], nothing);
  t.same(parseScopes(["repository(plugin):a:pull repository:a:push"]), [{ type: "repository", name: "a", actions: ["pull", "push"] }]);
  t.same(parseScopes([]), []);
  const many = Array.from({ length: 21 }, (_, at) => `repository:a${at}:pull`);
  t.throws(() => parseScopes(many), { code: "REQUEST_INVALID" });
  t.equal(parseScopes(many.slice(1)).length, 20);
});

t.test("anonymous callers may only pull", async (t) => {
  for (const requested of [
    "",
    "repository:a:pull",
    "repository(plugin):a:pull",
    "repository:a:pull,pull",
    "repository:a:pull repository:b:pull",
    "repository:a:",
  ])
    t.ok(isPullOnly(parseScopes([requested])), requested);
  for (const requested of ["repository:a:push", "repository:a:*", "repository:a:pull repository:b:push", "registry:catalog:*", "other:a:pull"])
    t.notOk(isPullOnly(parseScopes([requested])), requested);
});

t.test("only requested and allowed actions are granted", async (t) => {
  const rows: [requested: string, anonymous: string, anna: string, admin: string][] = [
    ["repository:datagrok/x:pull", "repository:datagrok/x:pull", "repository:datagrok/x:pull", "repository:datagrok/x:pull"],
    ["repository:datagrok/own:pull,push", "repository:datagrok/own:pull", "repository:datagrok/own:pull,push", "repository:datagrok/own:pull,push"],
    ["repository:datagrok/x:push", "", "", "repository:datagrok/x:push"],
    ["repository:datagrok/own:delete", "", "", "repository:datagrok/own:delete"],
    ["repository:datagrok/own:*", "repository:datagrok/own:pull", "repository:datagrok/own:pull,push", "repository:datagrok/own:pull,push,delete,*"],
    ["repository:datagrok/own:fly,pull", "repository:datagrok/own:pull", "repository:datagrok/own:pull", "repository:datagrok/own:pull"],
    ["registry:catalog:*", "", "registry:catalog:*", "registry:catalog:*"],
    ["registry:other:*", "", "", ""],
    ["repository(plugin):datagrok/own:push", "", "repository:datagrok/own:push", "repository:datagrok/own:push"],
    ["repository:../x:pull", "", "", ""],
    ["repository:Datagrok/own:push", "", "", ""],
    [`repository:${"a/".repeat(200)}a:pull`, "", "", ""],
  ];
  for (const [requested, ...wanted] of rows)
    t.same(await Promise.all([undefined, ANNA, ADMIN].map((who) => granted(requested, who))), wanted, requested.slice(0, 60));
});
