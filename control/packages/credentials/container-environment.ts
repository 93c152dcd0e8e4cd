import { containerToken } from "../../identity/sessions.ts";
import { injectedEnv, type StandSettings } from "../publish/injected-env.ts";
import type { Container, Image } from "../../model/entities.ts";
import type { Store } from "../../store/open-store.ts";
import type { Credentials } from "./open-credentials.ts";
import type { Vault } from "./open-vault.ts";

/**
 * All variables that a start gives its container but its own map, which comes after them: what every container gets, then the package's
 * credentials. Asked again for the same start it says the same. Faults: CREDENTIALS_UNREADABLE.
 */
export function containerEnvironment(parts: { store: Store; vault: Vault; credentials: Credentials; stand: StandSettings }) {
  const { store, credentials, stand } = parts;
  return async (container: Container, image: Pick<Image, "name" | "version">): Promise<Record<string, string>> => {
    const { service, config, packageId } = container;
    const packageName = (await store.packages.find(packageId))?.name ?? "";
    const own = { service, cpu: config.cpu, image: image.name, packageName, packageVersion: image.version };
    // Read first: where it cannot be, no session is made for a container that does not start.
    const secrets = await credentials.packageEnv(packageId);
    return { ...injectedEnv(stand, own, await containerToken(parts, container)), ...secrets };
  };
}
