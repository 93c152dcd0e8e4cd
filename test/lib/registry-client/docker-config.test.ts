import t from "tap";
import { findLogin, loginOf, parseDockerAuths } from "../../../lib/registry-client/docker-config.ts";

const ME = { username: "me", password: "my:password" };
const auth = Buffer.from("me:my:password").toString("base64");

t.test("a login is found by each name of its registry, as clients write the key", async (t) => {
  const keys: [string, readonly string[]][] = [
    ["ghcr.io", ["GHCR.io"]],
    ["https://ghcr.io", ["ghcr.io"]],
    ["http://registry.test:5000/v2/", ["other", "registry.test:5000"]],
    ["https://index.docker.io/v1/", ["docker.io"]],
    ["docker.io", ["registry-1.docker.io"]],
  ];
  for (const [key, names] of keys) t.strictSame(findLogin({ "other.test": null, [key]: { auth } }, names), ME, key);
  for (const name of ["registry.test", "ghcr.io.test", "docker.io"])
    t.equal(findLogin({ "registry.test:5000": { auth }, "ghcr.io": { auth } }, [name]), undefined, name);
});

t.test("an entry has a name and a password, or both in one; other entries and files have no login", async (t) => {
  t.strictSame(loginOf(ME), ME);
  t.strictSame(loginOf({ auth }), ME);
  for (const entry of [null, {}, { username: "me" }, { auth: 7 }, { auth: "!" }]) t.equal(loginOf(entry), undefined);
  t.strictSame(parseDockerAuths('{"auths":{"ghcr.io":{}}}'), { "ghcr.io": {} });
  for (const text of ["", "null", "{}", '{"auths":[]}', '{"auths":null}', "auths"]) t.equal(parseDockerAuths(text), undefined, text);
});
