import type { Settings } from "../conf/settings.ts";
import { type ConfiguredLimits, MAX_CONNECTIONS } from "../gateway/limits.ts";
import { connectionsFor, descriptorLimit } from "../lib/connection-limits.ts";

/** The limits of a gateway, and of a registry proxy, by the settings. */
export function configuredLimits(settings: Settings): ConfiguredLimits {
  return {
    proxyRequestTimeoutMs: settings.dockerSettings.proxyRequestTimeout,
    holdLimit: settings.holdLimit,
    holdUserLimit: settings.holdUserLimit,
    holdUserTotal: settings.holdUserLimit * 4,
    connectionsPerAddress: settings.connectionsPerAddress,
    connectionsTotal: connectionsFor(descriptorLimit(), MAX_CONNECTIONS),
    headersTimeoutMs: settings.headTimeout,
    keepAliveTimeoutMs: settings.keepAliveTimeout,
    idleTimeoutMs: settings.idleTimeout,
    bodyTimeoutMs: settings.bodyTimeout,
    totalTimeoutMs: settings.totalTimeout,
    noWake: settings.noWake,
    underscoreHeaders: settings.underscoreHeaders,
  };
}
