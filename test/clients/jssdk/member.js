// Members of the test's association, each with one or several devices.

import { createClient, Filter, PendingEventOrdering } from "matrix-js-sdk";
import { fetchFn, until } from "./watch.js";

export class Member {
    constructor(server, session, extra = {}) {
        this.server = server;
        this.session = session;
        this.userId = session.user_id;
        this.client = createClient({
            baseUrl: server.url, userId: session.user_id, deviceId: session.device_id, accessToken: session.access_token,
            fetchFn, timelineSupport: true, ...extra,
        });
    }

    /** register makes an account and its first session. */
    static async register(server, username, password = `${username}'s password`) {
        const client = createClient({ baseUrl: server.url, fetchFn });
        const session = await client.registerRequest({ username, password, auth: { type: "m.login.dummy" } });
        return new Member(server, session);
    }

    /** login is another device of an account. */
    static async login(server, user, password = `${user}'s password`, more = {}) {
        const client = createClient({ baseUrl: server.url, fetchFn });
        const session = await client.loginRequest({ type: "m.login.password", identifier: { type: "m.id.user", user }, password, ...more });
        return new Member(server, session);
    }

    /** start syncs as Element Web does, and waits for the first sync. */
    async start(options = {}) {
        await this.client.startClient({
            initialSyncLimit: 20, lazyLoadMembers: true, threadSupport: true, pendingEventOrdering: PendingEventOrdering.Detached,
            pollTimeout: 10_000, ...options,
        });
        await until(`first sync of ${this.userId}`, () => this.client.isInitialSyncComplete(), 60_000);
        return this;
    }

    stop() {
        this.client.stopClient();
    }

    /** room waits until the room is there with this membership. */
    room(roomId, membership = "join") {
        return until(`${this.userId} has ${membership} in ${roomId}`, () => {
            const room = this.client.getRoom(roomId);
            return room?.getMyMembership() === membership && room;
        });
    }

    /** event waits until an event is in the room's live timeline or one of its threads. */
    event(roomId, eventId) {
        return until(`${this.userId} sees ${eventId}`, () => this.client.getRoom(roomId)?.findEventById(eventId));
    }

    /** say sends a text and returns its event id. */
    async say(roomId, body, more = {}) {
        const { event_id } = await this.client.sendMessage(roomId, { msgtype: "m.text", body, ...more });
        return event_id;
    }
}

/** together makes a room of several members, all joined and seen by all. */
export async function together(members, options = {}) {
    const [owner, ...guests] = members;
    const { room_id } = await owner.client.createRoom({ preset: "private_chat", invite: guests.map((g) => g.userId), ...options });
    for (const g of guests) {
        await g.room(room_id, "invite");
        await g.client.joinRoom(room_id);
    }
    for (const m of members) {
        const room = await m.room(room_id);
        await until(`${m.userId} sees ${members.length} members`, () => room.getJoinedMemberCount() === members.length);
    }
    return room_id;
}

/** bodies are the texts of a timeline in order. */
export const bodies = (events) => events.filter((e) => e.getType() === "m.room.message").map((e) => e.getContent().body);

export { Filter };
