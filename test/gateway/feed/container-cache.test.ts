import t from "tap";
import type { ContainerView } from "../../../gateway/contract.ts";
import { createContainerCache } from "../../../gateway/feed/container-cache.ts";

const [ONE, OTHER] = ["1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11", "1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d12"] as const;
const view = (id: string, kind: "asleep" | "portless"): ContainerView => ({ id, name: "demo", availability: { kind } });

t.test("a container is found by the bytes of its id as by the text, after every change", async (t) => {
  const cache = createContainerCache();
  const isSame = (id: string, expected: ContainerView | undefined) => {
    const bytes = Buffer.from(`/proxy/${id}/x`);
    t.equal(cache.findBytes(bytes, 7, 43), expected);
    t.equal(cache.find(id), expected);
  };
  isSame(ONE, undefined);
  const [asleep, portless, other] = [view(ONE, "asleep"), view(ONE, "portless"), view(OTHER, "asleep")];
  cache.change(asleep);
  isSame(ONE, asleep);
  isSame(OTHER, undefined);
  cache.change(portless);
  isSame(ONE, portless);
  cache.replace([other]);
  isSame(ONE, undefined);
  isSame(OTHER, other);
  cache.remove(OTHER);
  isSame(OTHER, undefined);
});

t.test("every change counts, so that a view is known to be current", async (t) => {
  const cache = createContainerCache();
  let before = cache.changes();
  const changed = () => {
    const now = cache.changes();
    const differs = now !== before;
    before = now;
    return differs;
  };
  t.notOk(changed());
  cache.change(view(ONE, "asleep"));
  t.ok(changed());
  cache.replace([view(OTHER, "asleep")]);
  t.ok(changed());
  cache.remove(OTHER);
  t.ok(changed());
  cache.find(ONE);
  t.notOk(changed());
});
