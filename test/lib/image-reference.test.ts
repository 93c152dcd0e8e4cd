import t from "tap";
import { parseImageReference } from "../../lib/image-reference.ts";

t.test("a name has a host only if its first part looks like one", async (t) => {
  const digest = `sha256:${"a".repeat(64)}`;
  const none = { host: undefined, tag: undefined, digest: undefined };
  for (const [text, expected] of [
    ["nginx", { ...none, repository: "nginx" }],
    ["datagrok/chem:1.0", { ...none, repository: "datagrok/chem", tag: "1.0" }],
    ["localhost/a", { ...none, host: "localhost", repository: "a" }],
    ["ghcr.io/a/b:1", { ...none, host: "ghcr.io", repository: "a/b", tag: "1" }],
    [`registry:5000/a:1@${digest}`, { host: "registry:5000", repository: "a", tag: "1", digest }],
    [`[::1]:5000/a@${digest}`, { ...none, host: "[::1]:5000", repository: "a", digest }],
  ] as const)
    t.strictSame(parseImageReference(text), expected, text);
  for (const wrong of ["", "A", "Datagrok/a", "a//b", "a:", "a@sha256:ab", "a b", `a@sha256:${"a".repeat(129)}`, "a/".repeat(300)])
    t.equal(parseImageReference(wrong), undefined, wrong);
});
