/** How many requests of one user may wait: for one container, and for all of them together. */
export type HoldShareLimits = { ofContainer: number; ofAll: number };

export type HoldShares = {
  /** A place of the user's share, given back by the returned function; what of it is spent where there is none. */
  take(userId: string, containerId: string): (() => void) | keyof HoldShareLimits;
};

type Spent = { all: number; containers: Map<string, number> };

/** What each user has of the places to wait in, so that one who fills a share leaves the rest to the others. */
export function openHoldShares(limits: HoldShareLimits): HoldShares {
  const users = new Map<string, Spent>();

  return {
    take: (userId, containerId) => {
      const spent = users.get(userId) ?? { all: 0, containers: new Map<string, number>() };
      const here = spent.containers.get(containerId) ?? 0;
      if (here >= limits.ofContainer) return "ofContainer";
      if (spent.all >= limits.ofAll) return "ofAll";
      users.set(userId, spent);
      spent.all++;
      spent.containers.set(containerId, here + 1);
      return () => {
        spent.all--;
        const left = (spent.containers.get(containerId) ?? 1) - 1;
        if (left === 0) spent.containers.delete(containerId);
        else spent.containers.set(containerId, left);
        if (spent.all === 0 && users.get(userId) === spent) users.delete(userId);
      };
    },
  };
}
