import { headerOf, parseDevKey } from "../../../control/api/authorization.ts";
import { parseListing } from "../../../control/api/lists.ts";
import { parsePackageAddress } from "../../../control/api/packages.ts";
import { parseScopes } from "../../../control/identity/docker-tokens.ts";
import { imageOfRef } from "../../../control/identity/rights.ts";
import { containerName, imageName, isImageRef, isRepositoryPart, serviceName } from "../../../control/model/names.ts";
import { findTemplates } from "../../../control/packages/credentials/references.ts";
import { LONGEST_TEXT_BYTES } from "../../../control/packages/publish/author-files.ts";
import { readContainerJson } from "../../../control/packages/publish/container-json.ts";
import { readPackageJson } from "../../../control/packages/publish/definitions.ts";
import { readImageJson } from "../../../control/packages/publish/folders.ts";
import { parseReference } from "../../../drivers/image.ts";
import { parseV2Path } from "../../../gateway/registry/authorize.ts";
import { readImage } from "../../../gateway/registry/browse/open-browser.ts";
import { Fault } from "../../../lib/fault.ts";
import { parseBody } from "../../../lib/parse-json.ts";
import { nextPage } from "../../../lib/registry-client/registry-client.ts";
import { credentials, notSignedIn } from "../../../lib/sign-in.ts";
import { type InputCase, pumped } from "./input-case.ts";

/** What a request's head may have; the gateway refuses larger ones. */
const HEAD = 65_536;
/** The body of a request, unless its route has another limit. */
const LARGEST_BODY = 1_048_576;

/** A refusal is a result. */
const refusable = (read: (text: string) => unknown) => (text: string) => {
  try {
    read(text);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
  }
};

const JSON_PIECES = ["{", "}", "[", "]", '"', ":", ",", "\\", "a", "1", " ", '"a":1,', '"env":{', '"A":"#{x.a}",', "null"];
const NAME_PIECES = ["a", "A", "-", "_", ".", "/", "@", ":", " ", "9", "é", "sha256"];
const FIELDS = { name: { column: "name" }, status: { column: "state" } };

const many = (count: number, entry: (index: number) => string) => Array.from({ length: count }, (_, index) => entry(index)).join(",");
const variables = (name: string) => `"${name}":{${many(5_000, (index) => `"V${index}":1`)}}`;

const readers: Readonly<Record<string, { limit: number; pieces: readonly string[]; worst: string; read(text: string): unknown }>> = {
  "container.json: unknown keys": {
    limit: LONGEST_TEXT_BYTES,
    pieces: JSON_PIECES,
    worst: `{${many(10_000, (index) => `"memory${index}":1`)}}`.slice(0, LONGEST_TEXT_BYTES),
    read: (text) => readContainerJson(text, "container.json"),
  },
  "container.json: the same variables twice": {
    limit: LONGEST_TEXT_BYTES,
    pieces: JSON_PIECES,
    worst: `{${variables("env")},${variables("environmentVars")}}`,
    read: (text) => readContainerJson(text, "container.json"),
  },
  "package.json: levels": {
    limit: LONGEST_TEXT_BYTES,
    pieces: JSON_PIECES,
    worst: `{"name":${"[".repeat(60_000)}${"]".repeat(60_000)}}`,
    read: readPackageJson,
  },
  "image.json: a long text": {
    limit: LONGEST_TEXT_BYTES,
    pieces: JSON_PIECES,
    worst: `{"image":"${"a/".repeat(60_000)}"}`,
    read: (text) => readImageJson(text, "image.json"),
  },
  "body: lists within lists": {
    limit: LARGEST_BODY,
    pieces: JSON_PIECES,
    worst: "[".repeat(LARGEST_BODY / 2) + "]".repeat(LARGEST_BODY / 2),
    read: parseBody,
  },
  "templates: many": { limit: LONGEST_TEXT_BYTES, pieces: ["#{x.", "}", "{", "a", ":", "#"], worst: "#{x.a}".repeat(20_000), read: findTemplates },
  "list filter: comparisons": {
    limit: HEAD,
    pieces: ["name", "=", "!=", '"', "'", " ", "and ", "a", "%20", "%2520", "%", "\t"],
    worst: 'name="a" and '.repeat(5_000),
    read: (text) => parseListing({ text }, FIELDS),
  },
  "list filter: spaces": { limit: HEAD, pieces: [" "], worst: " ".repeat(HEAD), read: (text) => parseListing({ text }, FIELDS) },
  "docker scopes: actions of one repository": {
    limit: HEAD,
    pieces: ["repository:", "a", "/", ":", "pull", ",", "push", " ", "(plugin)"],
    worst: Array.from({ length: 5_000 }, (_, index) => `repository:a:${index}`).join(" "),
    read: (text) => parseScopes([text]),
  },
  "cookies: many": {
    limit: HEAD,
    pieces: ["auth=", "a", ";", " ", '"', "%", "%41", "=", ","],
    worst: "auth=a; ".repeat(8_000),
    read: (text) => {
      const header = headerOf({ cookie: text });
      notSignedIn(header);
      return [...credentials(header)];
    },
  },
  "Authorization: words": {
    limit: HEAD,
    pieces: ["Bearer ", "Dev ", "Basic ", " ", "\t", "a", "=", "YTpi"],
    worst: `Bearer${" ".repeat(HEAD - 10)}`,
    read: (text) => {
      parseDevKey(text);
      return [...credentials(headerOf({ authorization: text, "x-user-api-key": text }))];
    },
  },
  "image references": {
    limit: HEAD,
    pieces: NAME_PIECES,
    worst: "a:".repeat(HEAD / 2),
    read: (text) => [isImageRef(text), imageOfRef(text), refusable(parseReference)(text)],
  },
  names: {
    limit: HEAD,
    pieces: NAME_PIECES,
    worst: "-".repeat(HEAD),
    read: (text) => [containerName(text, text), imageName(text, text), isRepositoryPart(text), serviceName("berth", text, crypto.randomUUID())],
  },
  "package addresses": {
    limit: HEAD,
    pieces: NAME_PIECES,
    worst: "@".repeat(HEAD),
    read: (text) => parsePackageAddress({ first: text, name: text }),
  },
  "registry paths": {
    limit: HEAD,
    pieces: ["/v2/", "a", "/", "blobs", "manifests", "uploads", "tags/list", "sha256:", ".", "-", "_"],
    worst: `/v2/${"a/".repeat(30_000)}manifests/x`,
    read: parseV2Path,
  },
  "Link of a registry": {
    limit: HEAD,
    pieces: ["<", ">", ";", ",", " ", 'rel="next"', "a", "/v2/"],
    worst: "<a>;".repeat(16_000),
    read: (text) => nextPage(text, "a/tags/list"),
  },
};

/** Users who may push write manifests; this is the largest one that is read. */
const MANIFEST = `{"layers":[${"{},".repeat(345_000)}{}]}`;
const manifest: InputCase = {
  name: "manifest: layers",
  run: async () => {
    const reply = { status: 200, headers: {}, header: () => undefined, body: Buffer.from(MANIFEST), text: () => MANIFEST };
    await readImage({ reply, manifest: JSON.parse(MANIFEST), config: async () => ({}) });
  },
};

export const cases: InputCase[] = [
  manifest,
  ...Object.entries(readers).map(([name, { read, ...options }]) => pumped(name, { ...options, read: refusable(read) })),
];
