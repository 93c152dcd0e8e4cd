import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { Fault } from "../../lib/fault.ts";

/** What the kubelet puts into every pod that has a service account. */
const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

export type ConfigAt = {
  /** Path of a kubeconfig; where undefined, berth runs in the cluster, as the service account of its pod. */
  kubeconfig?: string | undefined;
  /** Put before the paths of the service account's files; for who has them elsewhere. */
  root?: string | undefined;
};

export type ReadConfig = { config: KubeConfig; server: URL; inside: boolean; namespace: string };

/**
 * Who berth is at the cluster, and where that is. The client's library reads kubeconfigs with all that they may name: tokens and their files, client
 * certificates, programs that fetch either, proxies. Faults: SETTINGS_INVALID.
 */
export function readConfig({ kubeconfig, root = "" }: ConfigAt): ReadConfig {
  const config = new KubeConfig();
  const inside = kubeconfig === undefined;
  if (inside) {
    if (!existsSync(join(root, SERVICE_ACCOUNT, "token"))) {
      throw new Fault(
        "SETTINGS_INVALID",
        `The driver "kubernetes" found no service account (${SERVICE_ACCOUNT}/token): outside a cluster, name a kubeconfig in GROK_SPAWNER_KUBERNETES__KUBECONFIG.`,
      );
    }
    // Takes the address from KUBERNETES_SERVICE_HOST and _PORT, which the kubelet sets.
    config.loadFromCluster(root);
  } else load(config, kubeconfig);
  const cluster = config.getCurrentCluster();
  const server = cluster && URL.parse(cluster.server);
  if (!server || !config.getCurrentUser()) {
    const where = inside
      ? "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT name no address"
      : `${kubeconfig} names no context with a cluster and a user`;
    throw new Fault("SETTINGS_INVALID", `The driver "kubernetes" knows no cluster: ${where}.`);
  }
  if (server.protocol === "http:" && !cluster.skipTLSVerify) {
    throw new Fault(
      "SETTINGS_INVALID",
      `The cluster at ${server.host} is named with http, which its client takes with insecure-skip-tls-verify only.`,
    );
  }
  const context = config.getContextObject(config.getCurrentContext());
  return { config, server, inside, namespace: context?.namespace?.trim() || "default" };
}

function load(config: KubeConfig, path: string): void {
  try {
    // Read apart, so that a file that is not there is told from one that cannot be understood.
    readFileSync(path);
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The kubeconfig ${path} (GROK_SPAWNER_KUBERNETES__KUBECONFIG) cannot be read.`, { cause });
  }
  try {
    config.loadFromFile(path);
  } catch {
    // No cause: the parser's message quotes the line that it stumbled over, which may hold a token.
    throw new Fault("SETTINGS_INVALID", `The kubeconfig ${path} (GROK_SPAWNER_KUBERNETES__KUBECONFIG) is not one.`);
  }
}
