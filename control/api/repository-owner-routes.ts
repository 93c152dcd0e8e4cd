import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { assignImage, imageOfRepository, repositoryOwner } from "../identity/rights.ts";
import type { ApiDeps } from "./api-deps.ts";
import { responses } from "./schemas.ts";

const REPOSITORY = { type: "string", maxLength: 255, description: "`datagrok/<image>`" } as const;
const OF_REPOSITORY = { type: "object", properties: { repository: REPOSITORY }, required: ["repository"] } as const;
const orNull = { type: ["string", "null"] } as const;
const OWNER = {
  type: "object",
  properties: {
    repository: { type: "string" },
    login: { ...orNull, description: "its owner: the package's author, or who pushed to it first; null: no owner" },
    package: { ...orNull, description: "the package that owns it, where one does" },
  },
} as const;
const ASSIGNED = {
  type: "object",
  properties: { repository: REPOSITORY, login: { type: "string" } },
  required: ["repository", "login"],
  additionalProperties: false,
} as const;

/** Which user or package owns a repository of the registry, for administrators; assigning it settles who of two has a name. */
export function repositoryOwnerRoutes(app: FastifyInstance, { store, clock }: Pick<ApiDeps, "store" | "clock">): void {
  const config = { admits: "admin" } as const;
  const tags = ["registry"];

  const imageOf = (repository: string): string => {
    const image = imageOfRepository(repository);
    if (image !== undefined) return image;
    throw new Fault("REQUEST_INVALID", `${JSON.stringify(repository)} has no owner: only repositories datagrok/<image> have one.`);
  };
  const shown = (repository: string) => {
    const owner = repositoryOwner(store, imageOf(repository));
    return { repository, login: (owner && store.users.find(owner.userId)?.login) ?? null, package: owner?.packageName ?? null };
  };

  app.get<{ Querystring: { repository: string } }>(
    "/docker/registry/owner",
    { config, schema: { tags, summary: "Who owns a repository", querystring: OF_REPOSITORY, response: responses(OWNER) } },
    ({ query }) => shown(query.repository),
  );

  app.put<{ Body: { repository: string; login: string } }>(
    "/docker/registry/owner",
    {
      config,
      schema: {
        tags,
        summary: "Assigns a repository to a user, whose packages may have the image from then on; those of its owner before may not",
        body: ASSIGNED,
        response: responses(OWNER),
      },
    },
    ({ body: { repository, login } }) => {
      const user = store.users.byLogin(login);
      if (!user) throw new Fault("USER_NOT_FOUND", `There is no user ${login}.`);
      assignImage(store, imageOf(repository), user.id, clock.now());
      return shown(repository);
    },
  );
}
