import { useState } from "preact/hooks";
import icon from "./icon.svg";
import { send, Refused } from "./api-client.ts";
import { ContainerPage } from "./containers/container-page.tsx";
import { ContainerList } from "./containers/container-list.tsx";
import type { Room, User } from "./entities.ts";
import { ImageList } from "./images/image-list.tsx";
import { ImagePage } from "./images.tsx";
import { LiveFeed } from "./live-feed.tsx";
import { Failure } from "./parts/failure.tsx";
import { linkTo, type Place, usePlace } from "./location.ts";
import { RepositoryList } from "./registry/repository-list.tsx";
import { RepositoryPage } from "./registry.tsx";
import { SignIn } from "./sign-in.tsx";
import { StandPage } from "./server-page.tsx";
import { useAsked } from "./use-asked.ts";
import { useRooms } from "./use-rooms.ts";

/** The rooms of the console: what stands in its navigation, and what each shows for the rest of the place. */
const ROOMS: readonly { name: Room; title: string; show(rest: Place, seen: Seen): preact.JSX.Element }[] = [
  { name: "containers", title: "Containers", show: ([id]) => (id === undefined ? <ContainerList /> : <ContainerPage key={id} id={id} />) },
  { name: "images", title: "Images", show: ([id]) => (id === undefined ? <ImageList /> : <ImagePage key={id} id={id} />) },
  {
    name: "registry",
    title: "Registry",
    show: ([name], seen) => (name === undefined ? <RepositoryList {...seen} /> : <RepositoryPage key={name} name={name} {...seen} />),
  },
  { name: "stand", title: "Stand", show: () => <StandPage /> },
];

/** By whom, and whether there are containers beside it. */
type Seen = { user: User; withContainers: boolean };

export function App() {
  const { rooms, error, again } = useRooms();
  if (error && !rooms) return <Failure error={error} onRetry={again} />;
  if (!rooms) return <p class="waiting">Asking what there is…</p>;
  return <Rooms of={rooms} />;
}

function Rooms({ of }: { of: readonly Room[] }) {
  const { value: user, error, again } = useAsked<User>("/users/current");
  const [signedOut, setSignedOut] = useState(false);
  const place = usePlace();
  const withContainers = of.includes("containers");

  if (signedOut || (error instanceof Refused && error.status === 401)) {
    const entered = () => {
      setSignedOut(false);
      again();
    };
    return <SignIn usersAreHere={withContainers} onSignedIn={entered} />;
  }
  if (error && !user) return <Failure error={error} onRetry={again} />;
  if (!user) return <p class="waiting">Asking who you are…</p>;

  const rooms = ROOMS.filter(({ name }) => of.includes(name));
  const room = rooms.find(({ name }) => name === place[0]) ?? rooms[0];
  const signOut = () => void send("/console/sign-out", { method: "POST" }).finally(() => setSignedOut(true));
  const page = (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to content
      </a>
      <header>
        <a class="brand" href={linkTo()}>
          <img src={icon} alt="" width="24" height="24" /> berth
        </a>
        <nav aria-label="Rooms">
          {rooms.map(({ name, title }) => (
            <a key={name} href={linkTo(name)} aria-current={room?.name === name ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <span class="who">{user.login}</span>
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      </header>
      <main id="main" tabIndex={-1}>
        {room?.show(place.slice(1), { user, withContainers })}
      </main>
    </>
  );
  // What happens to containers is all that it tells.
  return withContainers ? <LiveFeed>{page}</LiveFeed> : page;
}
