import t from "tap";
import { createUpstreamPauses, parsePullLimit } from "../../../../gateway/registry/cache/upstream-limits.ts";

const head = (headers: Record<string, string>) => ({ header: (name: string) => headers[name] });

t.test("the limit of pulls is read as Docker Hub writes it", async (t) => {
  t.same(parsePullLimit(head({ "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600" })), {
    limit: 100,
    remaining: 76,
    windowSeconds: 21_600,
  });
  t.same(parsePullLimit(head({ "ratelimit-limit": "100", "ratelimit-remaining": "0" })), { limit: 100, remaining: 0, windowSeconds: undefined });
  for (const headers of [{}, { "ratelimit-limit": "100" }, { "ratelimit-limit": "many", "ratelimit-remaining": "-1" }])
    t.equal(parsePullLimit(head(headers)), undefined);
});

t.test("a failure pauses its kind of requests, for longer each time; then one request tries", async (t) => {
  let now = 0;
  const pauses = createUpstreamPauses({ monotonic: () => now });
  t.equal(pauses.check("manifest"), undefined);
  pauses.failed("manifest", { kind: "limited", why: "429" });
  t.match(pauses.check("manifest"), { kind: "limited", leftMs: 30_000 });
  t.equal(pauses.check("blob"), undefined);
  now = 30_000;
  t.equal(pauses.check("manifest"), undefined);
  t.ok(pauses.check("manifest"), "others wait for the one that tries");
  pauses.failed("manifest", { kind: "limited", why: "429" });
  t.match(pauses.check("manifest"), { leftMs: 60_000 });
  pauses.failed("manifest", { kind: "limited", why: "429", retryAfterMs: 3_600_000 });
  t.match(pauses.check("manifest"), { leftMs: 3_600_000 });
  pauses.succeeded("manifest");
  t.equal(pauses.check("manifest"), undefined);
  pauses.failed("manifest", { kind: "away", why: "gone" });
  t.match(pauses.check("manifest"), { leftMs: 1_000 });
});
