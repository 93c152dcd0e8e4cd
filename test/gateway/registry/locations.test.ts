import t from "tap";
import { locationEdits, type UpstreamRequest } from "../../../gateway/registry/locations.ts";

const FROM: UpstreamRequest = {
  upstream: {
    host: "registry.internal:5001",
    target: { host: "registry.internal", port: 5001 },
    basePath: "",
    nameOf: (repository) => (repository.includes("/") ? repository : `library/${repository}`),
  },
  repository: "datagrok/a",
  target: "/v2/datagrok/a/blobs/uploads/",
  publicOrigin: "https://registry.example",
};

/** What a client gets where the registry says this. */
function rewritten(name: "location" | "link", value: string, status = 202, from: Partial<UpstreamRequest> = {}): string {
  const header = (headerName: string) => (headerName === name ? value : undefined);
  const { remove, add } = locationEdits({ ...FROM, ...from }, { status, header, names: () => [name] });
  t.same(
    remove,
    add.map(([added]) => added.toLowerCase()),
  );
  return add[0]?.[1] ?? value;
}

const HUB = { ...FROM.upstream, host: "registry-1.docker.io", basePath: "" };
const BELOW = { ...FROM.upstream, basePath: "/artifactory" };

t.test("where an upload goes on is always here", async (t) => {
  const rows: [value: string, rewritten: string][] = [
    // Absolute, under its own name, that of another port, and one that only it knows.
    [
      "http://registry.internal:5001/v2/datagrok/a/blobs/uploads/1?_state=a%2Fb%3D&x=",
      "https://registry.example/v2/datagrok/a/blobs/uploads/1?_state=a%2Fb%3D&x=",
    ],
    ["https://registry.internal/v2/datagrok/a/blobs/uploads/1?_state=x", "https://registry.example/v2/datagrok/a/blobs/uploads/1?_state=x"],
    ["http://10.1.2.3:80/v2/datagrok/a/blobs/uploads/1", "https://registry.example/v2/datagrok/a/blobs/uploads/1"],
    ["//registry.internal:5001/v2/datagrok/a/blobs/uploads/1", "https://registry.example/v2/datagrok/a/blobs/uploads/1"],
    // Relative: to the host, to the path.
    ["/v2/datagrok/a/blobs/uploads/1?_state=x", "/v2/datagrok/a/blobs/uploads/1?_state=x"],
    ["1?_state=x", "/v2/datagrok/a/blobs/uploads/1?_state=x"],
  ];
  for (const [sent, expected] of rows) t.equal(rewritten("location", sent), expected, sent);
  t.equal(rewritten("location", "/v2/datagrok/a/blobs/sha256:ab", 201), "/v2/datagrok/a/blobs/sha256:ab");
});

t.test("a repository keeps the name by which its client called it, and a path before the registry's is not seen", async (t) => {
  const hub = { upstream: HUB, repository: "busybox", target: "/v2/library/busybox/blobs/uploads/" };
  t.equal(rewritten("location", "/v2/library/busybox/blobs/uploads/1", 202, hub), "/v2/busybox/blobs/uploads/1");
  const below = { upstream: BELOW, target: "/artifactory/v2/datagrok/a/blobs/uploads/" };
  t.equal(
    rewritten("location", "http://registry.internal:5001/artifactory/v2/datagrok/a/blobs/uploads/1?x", 202, below),
    "https://registry.example/v2/datagrok/a/blobs/uploads/1?x",
  );
});

t.test("an upload goes on nowhere but here and at the registry's own domain, and takes no layer and no token to others", async (t) => {
  const from = { upstream: { ...FROM.upstream, host: "registry.corp.example", target: { host: "registry.corp.example", port: 443 } }, writes: true };
  const led = (location: string, status = 202, more: Partial<UpstreamRequest> = {}) => {
    const header = (name: string) => (name === "location" ? location : undefined);
    const { remove, add } = locationEdits({ ...FROM, ...from, ...more }, { status, header, names: () => ["location"] });
    return add[0]?.[1] ?? (remove.includes("location") ? undefined : location);
  };
  for (const status of [201, 202, 307]) {
    t.equal(led("https://evil.example.net/take?layer", status), undefined, `${status}`);
    t.equal(led("http://169.254.169.254/x", status), undefined, `${status}`);
  }
  t.equal(led("https://uploads.corp.example/take?x=1"), "https://uploads.corp.example/take?x=1");
  t.equal(led("https://store.example.net/x", 202, { uploadHosts: ["*.example.net"] }), "https://store.example.net/x");
  t.equal(led("https://evil.example.net/v2/datagrok/a/blobs/uploads/1"), "https://registry.example/v2/datagrok/a/blobs/uploads/1");
});

t.test("a redirect elsewhere stays one, and one within the registry leads here", async (t) => {
  const store = "https://bucket.s3.amazonaws.com/docker/blob?X-Amz-Signature=a%2Bb";
  t.equal(rewritten("location", store, 307), store);
  const mirror = "https://mirror.example/v2/datagrok/a/blobs/sha256:ab";
  t.equal(rewritten("location", mirror, 307), mirror);
  t.equal(
    rewritten("location", "http://registry.internal:5001/v2/datagrok/b/blobs/sha256:ab", 307),
    "https://registry.example/v2/datagrok/b/blobs/sha256:ab",
  );
  // What this proxy does not have is fetched from the registry itself.
  t.equal(rewritten("location", "/store/ab?token=x", 302), "http://registry.internal:5001/store/ab?token=x");
});

t.test("the next page is here", async (t) => {
  const tags = { target: "/v2/datagrok/a/tags/list?n=1" };
  t.equal(rewritten("link", '</v2/datagrok/a/tags/list?last=1&n=1>; rel="next"', 200, tags), '</v2/datagrok/a/tags/list?last=1&n=1>; rel="next"');
  t.equal(
    rewritten("link", '<http://registry.internal:5001/v2/datagrok/a/tags/list?last=a%2Bb&n=1>; rel="next"', 200, tags),
    '<https://registry.example/v2/datagrok/a/tags/list?last=a%2Bb&n=1>; rel="next"',
  );
  const catalog = { target: "/artifactory/v2/_catalog?n=1", repository: undefined, upstream: BELOW };
  t.equal(rewritten("link", '</artifactory/v2/_catalog?last=b&n=1>; rel="next"', 200, catalog), '</v2/_catalog?last=b&n=1>; rel="next"');
});

t.test("what is no address stays as it is", async (t) => {
  for (const odd of ["http://[", "mailto:ada@example.org"]) t.equal(rewritten("location", odd, 307), odd);
});
