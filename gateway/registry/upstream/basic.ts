import type { RegistryAddress } from "./registry-address.ts";
import type { Upstream } from "./upstream.ts";

export type Login = { username: string; password: string };

export function basicAuthorization({ username, password }: Login): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

/** A registry that takes a name and a password with each request, or asks for none. */
export function basicUpstream(address: RegistryAddress, login: Login | undefined): Upstream {
  const authorization = login && basicAuthorization(login);
  return {
    ...placeOf(address),
    authorization: () => authorization,
    refused: async () => undefined,
    close: async () => {},
  };
}

export function placeOf({ target, host, basePath, hub }: RegistryAddress): Pick<Upstream, "target" | "host" | "basePath" | "nameOf"> {
  return { target, host, basePath, nameOf: (repository) => (hub && !repository.includes("/") ? `library/${repository}` : repository) };
}
