import t from "tap";
import { isDigest } from "../../../lib/registry-client/digest.ts";

t.test("a digest is of an algorithm that registries accept, has its length, and is no other part of a path", async (t) => {
  for (const [algorithm, length] of [
    ["sha256", 64],
    ["sha384", 96],
    ["sha512", 128],
  ] as const) {
    const hex = "a0".repeat(length / 2);
    t.ok(isDigest(`${algorithm}:${hex}`));
    for (const wrong of [
      `${algorithm}:${hex}a`,
      `${algorithm}:${hex.slice(1)}`,
      `${algorithm}:${hex.toUpperCase()}`,
      `${algorithm}-${hex}`,
      `${algorithm}:${hex}\n`,
    ])
      t.notOk(isDigest(wrong), wrong);
  }
  for (const wrong of [undefined, null, 5, "", "md5:d41d8cd98f00b204e9800998ecf8427e", `sha256:${"../".repeat(21)}a`, [`sha256:${"a".repeat(64)}`]])
    t.notOk(isDigest(wrong), String(wrong));
});
