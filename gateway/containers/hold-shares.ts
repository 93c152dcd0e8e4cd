/** Requests of one user that may wait: for one container, and for all. */
export type HoldShareLimits = { ofContainer: number; ofAll: number };

type HoldShares = {
  /** Takes a place of the user's share; the returned function gives it back. If the share is used up: which limit it met. */
  take(userId: string, containerId: string): (() => void) | keyof HoldShareLimits;
};

type UserShare = { all: number; containers: Map<string, number> };

/** Limits each user's waiting requests, so that one user cannot fill all places. */
export function createHoldShares(limits: HoldShareLimits): HoldShares {
  const users = new Map<string, UserShare>();

  return {
    take: (userId, containerId) => {
      const share = users.get(userId) ?? { all: 0, containers: new Map<string, number>() };
      const here = share.containers.get(containerId) ?? 0;
      if (here >= limits.ofContainer) return "ofContainer";
      if (share.all >= limits.ofAll) return "ofAll";
      users.set(userId, share);
      share.all++;
      share.containers.set(containerId, here + 1);
      return () => {
        share.all--;
        const left = (share.containers.get(containerId) ?? 1) - 1;
        if (left === 0) share.containers.delete(containerId);
        else share.containers.set(containerId, left);
        if (share.all === 0 && users.get(userId) === share) users.delete(userId);
      };
    },
  };
}
