import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import { readJsonLists } from "../../lib/json-lists.ts";
import { type Import, ownerOf } from "../packages/import/open-importer.ts";
import type { Fate, ImportedContainer, Plan } from "../packages/import/plan-import.ts";
import type { Published } from "../packages/publish/open-publisher.ts";
import { refuseForeignAuthor } from "../packages/publish/record-package.ts";
import type { Store } from "../store/open-store.ts";
import { clientAbortSignal } from "./api-error.ts";
import { type ContainerToJson, createContainerToJson, findLiveContainers, imageToJson } from "./entities.ts";
import { addRoutes, route, type Route, type RouteDeps } from "./route.ts";
import { CONTAINER, IMAGE, oneOf, paramsOf, text } from "./schemas.ts";

/** The three forms of a package's address. A scope begins with `@`; any other word before the name is a key. */
const PATHS = ["/packages/dev/:name", "/packages/dev/:first/:name", "/packages/dev/:key/:scope/:name"] as const;

const PUBLISH_QUERY = Type.Object({
  debug: Type.Optional(Type.Boolean({ default: false, description: "the tag of the images is the developer's login" })),
  rebuild: Type.Optional(Type.String({ description: "ignored; berth builds nothing" })),
  dropDb: Type.Optional(Type.String({ description: "ignored; packages have no database here" })),
  suffix: Type.Optional(Type.String({ description: "ignored" })),
});
const PUBLISHED = Type.Object({
  "#type": text,
  id: text,
  name: text,
  version: text,
  images: Type.Array(IMAGE),
  containers: Type.Array(CONTAINER),
  warnings: Type.Array(text, { description: "for the author" }),
});
const TIMESTAMPS = Type.Unsafe<Record<string, unknown>>({ type: "object", additionalProperties: true });

/** Registered in a scope of their own: a body is a stream of bytes whatever its Content-Type, since most clients send none. */
export function addPackageRoutes(app: FastifyInstance, deps: RouteDeps): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
  addRoutes(
    app,
    PATHS.flatMap((path) => packageRoutes(path, deps)),
  );
}

function packageRoutes(path: string, { store, publisher, lifecycle, authorization, auditRecorder }: RouteDeps): Route[] {
  const containerToJson = createContainerToJson(lifecycle);
  const tags = ["packages"];
  const params = paramsOf(path);

  return [
    route({
      method: "GET",
      path: `${path}/timestamps`,
      authorize: "handler",
      schema: { tags, summary: "Lists files that a client need not send again: none", params, response: TIMESTAMPS },
      handle: async (request) => {
        const { name, key } = parsePackageAddress(request.params);
        await refuseForeignAuthor(store, name, await authorization.publisher(request, key, name));
        return {};
      },
    }),
    route({
      method: "POST",
      path,
      authorize: "handler",
      audit: { action: "packagePublished", target: (request) => parsePackageAddress(request.params).name },
      schema: {
        tags,
        summary: "Publishes a package: a ZIP",
        consumes: ["application/zip", "application/octet-stream"],
        params,
        querystring: PUBLISH_QUERY,
        response: PUBLISHED,
      },
      handle: async (request, reply) => {
        const { name, key } = parsePackageAddress(request.params);
        const authorize = (packageName: string) => authorization.publisher(request, key, packageName);
        const user = await authorize(name);
        if (!(request.body instanceof Readable)) throw new Fault("PACKAGE_INVALID", "The request has no body; send a ZIP.");
        const body = request.body;
        try {
          // The socket must outlive a refusal: otherwise the client sees a broken connection instead of the reason.
          const bytes = body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
          const { debug = false } = request.query;
          const published = await publisher.publish({ name, user, authorize, debug, body: bytes, signal: clientAbortSignal(reply) });
          auditRecorder.setTarget(request, published.package.name);
          const warnings = [...published.warnings, ...(lifecycle.disabled ? [lifecycle.disabled.message] : [])];
          return reply.type("application/json; charset=utf-8").send(Readable.from(piecesOf({ store, containerToJson }, { ...published, warnings })));
        } finally {
          body.resume();
        }
      },
    }),
  ];
}

export type PackageAddress = {
  /** With its scope, if it has one. */
  name: string;
  /** The developer key, which older clients put into the path. */
  key: string | undefined;
};

export function parsePackageAddress({ key, first, scope, name = "" }: Partial<Record<string, string>>): PackageAddress {
  if (scope !== undefined) return { name: `${scope}/${name}`, key };
  if (first?.startsWith("@")) return { name: `${first}/${name}`, key: undefined };
  return { name, key: first };
}

/** The folders of one piece of the response. Each piece takes one turn of the event loop. */
const FOLDERS_OF_A_PIECE = 25;

/** The response as JSON, in pieces: for 500 folders it has some megabytes. */
async function* piecesOf(
  { store, containerToJson }: { store: Store; containerToJson: ContainerToJson },
  { package: { id, name, version }, folders, warnings }: Published,
): AsyncGenerator<string> {
  const pieces = Array.from({ length: Math.ceil(folders.length / FOLDERS_OF_A_PIECE) }, (_, index) =>
    folders.slice(index * FOLDERS_OF_A_PIECE, (index + 1) * FOLDERS_OF_A_PIECE),
  );
  const images = async (ids: string[]) => (await store.images.some(ids)).map((image) => imageToJson(image, true, "cut"));
  const containers = async (ids: string[]) => (await findLiveContainers(store, ids)).map((live) => containerToJson(live, true, "cut"));
  const list = async function* (rows: (piece: typeof folders) => Promise<object[]>): AsyncGenerator<string> {
    let before = "";
    for (const piece of pieces) {
      await new Promise(setImmediate);
      for (const row of await rows(piece)) {
        yield before + JSON.stringify(row);
        before = ",";
      }
    }
  };
  yield `${JSON.stringify({ "#type": "Package", id, name, version }).slice(0, -1)},"images":[`;
  yield* list((piece) => images(piece.map(({ imageId }) => imageId)));
  yield '],"containers":[';
  yield* list((piece) => containers(piece.map(({ containerId }) => containerId)));
  yield `],"warnings":${JSON.stringify(warnings)}}`;
}

type ImportRow = Static<typeof ROW>;
type ImportedEntity = Pick<ImportedContainer, "id" | "name" | "status" | "author">;

const ROWS_OF_A_PIECE = 500;

/** An entity may contain a whole Dockerfile and the end of a log. What one turn of the event loop parses is one of them. */
const IMPORT_LIMITS = { body: 256 * 1_048_576, entry: 1_048_576, entries: 100_000 };
const IMPORT_NAMES = { body: "import", shorten: "Leave out its log.", split: "Import it in parts." };
const entities = (from: string) =>
  Type.Array(Type.Unknown(), { maxItems: IMPORT_LIMITS.entries, description: `the response of that server to \`${from}\`` });
const IMPORT = Type.Unsafe<Import>(
  Type.Object({
    images: entities("GET /api/docker/images"),
    containers: entities("GET /api/docker/containers"),
    adopt: Type.Optional(Type.Boolean({ default: false, description: "take over running services as they are" })),
    dryRun: Type.Optional(Type.Boolean({ default: false, description: "only return the plan" })),
  }),
);
const ROW = Type.Object({
  kind: oneOf(["image", "container"]),
  id: text,
  name: text,
  status: Type.String({ description: "at that server" }),
  fate: oneOf(["import", "adopt", "here", "left"], { description: "`here`: the id exists here already; `left`: not imported" }),
  why: text,
  author: Type.String({ description: "the owner here" }),
});
/** Imports images and containers of a Datagrok server; `berth import` does the same at a command line. In a scope of its own: it reads its body by itself. */
export function addImportRoutes(app: FastifyInstance, deps: Pick<RouteDeps, "importer" | "store" | "authorization">): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", async (_request: FastifyRequest, payload: IncomingMessage) => {
    try {
      // As for a package.
      return await readJsonLists(payload.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>, IMPORT_LIMITS, IMPORT_NAMES);
    } finally {
      payload.resume();
    }
  });
  addRoutes(app, importRoutes(deps));
}

function importRoutes({ importer, store, authorization }: Pick<RouteDeps, "importer" | "store" | "authorization">): Route[] {
  /** The logins of the owners here, by those of the authors there. */
  const ownersOf = async ({ images, containers }: Plan, user: { id: string; login: string }) => {
    const logins = new Map<string | undefined, string>();
    for (const author of new Set([...images.map(({ image }) => image.author), ...containers.map(({ container }) => container.author)]))
      logins.set(author, (await ownerOf({ store, importer: user }, author)).login);
    return logins;
  };
  /** The response as JSON, in pieces, each in a turn of its own. */
  const piecesOf = async function* ({ images, containers }: Plan, logins: ReadonlyMap<string | undefined, string>): AsyncGenerator<string> {
    const rowOf = (kind: ImportRow["kind"], { id, name, status, author }: ImportedEntity, { fate, why }: { fate: Fate; why: string }) =>
      ({ kind, id, name, status, fate, why, author: logins.get(author) ?? "" }) satisfies ImportRow;
    let before = "[";
    for (let from = 0; from < images.length + containers.length; from += ROWS_OF_A_PIECE) {
      await new Promise(setImmediate);
      const texts: string[] = [];
      for (let at = from; at < Math.min(from + ROWS_OF_A_PIECE, images.length + containers.length); at++) {
        const [image, container] = [images[at], containers[at - images.length]];
        if (image) texts.push(JSON.stringify(rowOf("image", image.image, image)));
        if (container) texts.push(JSON.stringify(rowOf("container", container.container, container)));
      }
      yield before + texts.join(",");
      before = ",";
    }
    yield before === "[" ? "[]" : "]";
  };

  return [
    route({
      method: "POST",
      path: "/admin/import",
      authorize: "admin",
      audit: { action: "imported", target: ({ body }) => (body.dryRun ? "dry run" : undefined) },
      bodyLimit: IMPORT_LIMITS.body,
      schema: { tags: ["server"], summary: "Imports images and containers of another server", body: IMPORT, response: Type.Array(ROW) },
      handle: async (request, reply) => {
        const { userId: id, login } = authorization.caller(request);
        const plan = await importer.take(request.body, { id, login }, clientAbortSignal(reply));
        const logins = await ownersOf(plan, { id, login });
        return reply.type("application/json; charset=utf-8").send(Readable.from(piecesOf(plan, logins)));
      },
    }),
  ];
}
