// Making rooms, coming into them, leaving them, and who may do what there.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Member, together } from "./member.js";
import { refuse, until } from "./watch.js";

export const rooms = (home) => describe("rooms", () => {
    const forbidden = { errcode: "M_FORBIDDEN" };

    test("a private room is joined by invitation only", async () => {
        refuse("POST /v3/join/{id} 403 M_FORBIDDEN");
        const { anna, bert, cleo } = home;
        const { room_id } = await anna.client.createRoom({ preset: "private_chat", name: "Board", topic: "Minutes" });
        assert.equal((await anna.room(room_id)).name, "Board");
        await assert.rejects(bert.client.joinRoom(room_id), forbidden);
        await anna.client.invite(room_id, bert.userId, "You were elected");
        const invited = await bert.room(room_id, "invite");
        assert.equal(invited.name, "Board");
        const mine = invited.getMember(bert.userId).events.member;
        assert.equal(mine.getSender(), anna.userId);
        assert.equal(mine.getContent().reason, "You were elected");
        await bert.client.joinRoom(room_id);
        const joined = await bert.room(room_id);
        await until("the topic", () => joined.currentState.getStateEvents("m.room.topic", "")?.getContent().topic === "Minutes");
        const annas = await anna.room(room_id);
        await until("anna sees bert", () => annas.getMember(bert.userId)?.membership === "join");

        await anna.client.invite(room_id, cleo.userId);
        await cleo.room(room_id, "invite");
        await cleo.client.leave(room_id);
        await until("anna sees that cleo declined", () => annas.getMember(cleo.userId)?.membership === "leave");
        await assert.rejects(cleo.client.joinRoom(room_id), forbidden);
    });

    test("a public room is found and joined by its alias", async () => {
        refuse("GET /v3/directory/room/{id} 404 M_NOT_FOUND", "POST /v3/createRoom 400 M_ROOM_IN_USE");
        const { anna, bert } = home;
        const { room_id } = await anna.client.createRoom({ preset: "public_chat", visibility: "public", room_alias_name: "market", name: "Market" });
        assert.equal((await bert.client.getRoomIdForAlias("#market:localhost")).room_id, room_id);
        const listed = await bert.client.publicRooms({ limit: 50, filter: { generic_search_term: "mark" } });
        const entry = listed.chunk.find((r) => r.room_id === room_id);
        assert.equal(entry.canonical_alias, "#market:localhost");
        assert.equal(entry.num_joined_members, 1);
        assert.equal((await bert.client.getRoomSummary("#market:localhost")).name, "Market");
        const joined = await bert.client.joinRoom("#market:localhost");
        assert.equal(joined.roomId, room_id);
        assert.equal((await bert.room(room_id)).getCanonicalAlias(), "#market:localhost");
        await assert.rejects(anna.client.createRoom({ room_alias_name: "market" }), { errcode: "M_ROOM_IN_USE" });

        await anna.client.createAlias("#bazaar:localhost", room_id);
        assert.deepEqual((await anna.client.getLocalAliases(room_id)).aliases.sort(), ["#bazaar:localhost", "#market:localhost"]);
        await anna.client.deleteAlias("#bazaar:localhost");
        await assert.rejects(anna.client.getRoomIdForAlias("#bazaar:localhost"), { errcode: "M_NOT_FOUND" });
        await anna.client.setRoomDirectoryVisibility(room_id, "private");
        assert.ok(!(await bert.client.publicRooms({ limit: 50 })).chunk.some((r) => r.room_id === room_id));
    });

    test("a direct room knows who it is with", async () => {
        const { anna, bert } = home;
        const { room_id } = await anna.client.createRoom({ preset: "trusted_private_chat", is_direct: true, invite: [bert.userId] });
        assert.equal((await bert.room(room_id, "invite")).getDMInviter(), anna.userId);
        await bert.client.joinRoom(room_id);
        const room = await bert.room(room_id);
        assert.equal(room.guessDMUserId(), anna.userId);
        assert.equal(room.name, anna.userId); // nobody has chosen a name yet
        const annas = await anna.room(room_id);
        await until("anna calls the room after bert", () => annas.name === bert.userId);
    });

    test("state and power levels", async () => {
        refuse("PUT /v3/rooms/{id}/state/m.room.topic/ 403 M_FORBIDDEN", "GET /v3/rooms/{id}/state/org.example.none/x 404 M_NOT_FOUND");
        const { anna, bert } = home;
        const room_id = await together([anna, bert], { name: "Old name" });
        const berts = await bert.room(room_id);
        await anna.client.setRoomName(room_id, "New name");
        await until("the new name", () => berts.name === "New name");
        await assert.rejects(bert.client.setRoomTopic(room_id, "mine"), forbidden);
        await anna.client.setPowerLevel(room_id, bert.userId, 50);
        await until("bert's power", () => berts.getMember(bert.userId).powerLevel === 50);
        assert.ok(berts.currentState.maySendStateEvent("m.room.topic", bert.userId));
        await bert.client.setRoomTopic(room_id, "bert's topic");
        const annas = await anna.room(room_id);
        await until("the topic", () => annas.currentState.getStateEvents("m.room.topic", "")?.getContent().topic === "bert's topic");
        assert.equal((await bert.client.getStateEvent(room_id, "m.room.topic", "")).topic, "bert's topic");
        await anna.client.sendStateEvent(room_id, "org.example.seat", { number: 7 }, "window");
        await until("a state of our own", () => berts.currentState.getStateEvents("org.example.seat", "window")?.getContent().number === 7);
        const all = await bert.client.roomState(room_id);
        assert.equal(all.filter((e) => e.type === "m.room.member").length, 2);
        assert.equal(all.find((e) => e.type === "org.example.seat").content.number, 7);
        await assert.rejects(bert.client.getStateEvent(room_id, "org.example.none", "x"), { errcode: "M_NOT_FOUND" });
    });

    test("kicked, banned, gone and forgotten", async () => {
        refuse("POST /v3/rooms/{id}/kick 403 M_FORBIDDEN");
        const { anna, bert, cleo } = home;
        const { room_id } = await anna.client.createRoom({ preset: "public_chat" });
        await bert.client.joinRoom(room_id);
        await cleo.client.joinRoom(room_id);
        await bert.room(room_id);
        await assert.rejects(bert.client.kick(room_id, cleo.userId), forbidden);
        await anna.client.kick(room_id, bert.userId, "Too loud");
        const kicked = await bert.room(room_id, "leave");
        assert.equal(kicked.getMember(bert.userId).events.member.getContent().reason, "Too loud");
        await bert.client.joinRoom(room_id);
        await bert.room(room_id);
        await anna.client.ban(room_id, bert.userId);
        await bert.room(room_id, "ban");
        await assert.rejects(bert.client.joinRoom(room_id), forbidden);
        await anna.client.unban(room_id, bert.userId);
        await bert.room(room_id, "leave");
        await bert.client.joinRoom(room_id);
        await bert.room(room_id);
        await bert.client.leave(room_id);
        await bert.room(room_id, "leave");
        await bert.client.forget(room_id);
        assert.equal(bert.client.getRoom(room_id), null);
        assert.ok(!(await bert.client.getJoinedRooms()).joined_rooms.includes(room_id));
        const members = await cleo.client.getJoinedRoomMembers(room_id);
        assert.deepEqual(Object.keys(members.joined).sort(), [anna.userId, cleo.userId]);
    });

    test("knocking", async () => {
        const { anna, bert } = home;
        const { room_id } = await anna.client.createRoom({ initial_state: [{ type: "m.room.join_rules", state_key: "", content: { join_rule: "knock" } }] });
        const annas = await anna.room(room_id);
        await assert.rejects(bert.client.joinRoom(room_id), forbidden);
        await bert.client.knockRoom(room_id, { reason: "May I?" });
        await bert.room(room_id, "knock");
        await until("anna hears the knock", () => annas.getMember(bert.userId)?.membership === "knock");
        await anna.client.invite(room_id, bert.userId);
        await bert.room(room_id, "invite");
        await bert.client.joinRoom(room_id);
        await bert.room(room_id);
    });

    test("an upgraded room is followed", async () => {
        const { anna, bert } = home;
        const { room_id } = await anna.client.createRoom({ preset: "public_chat", name: "Garden", room_version: "11" });
        await bert.client.joinRoom(room_id);
        const old = await bert.room(room_id);
        assert.equal(old.getVersion(), "11");
        const { replacement_room } = await anna.client.upgradeRoom(room_id, "12");
        const tombstone = await until("the tombstone", () => old.currentState.getStateEvents("m.room.tombstone", ""));
        assert.equal(tombstone.getContent().replacement_room, replacement_room);
        await bert.client.joinRoom(replacement_room, { viaServers: ["localhost"] });
        const next = await bert.room(replacement_room);
        assert.equal(next.getVersion(), "12");
        assert.equal(next.name, "Garden");
        assert.equal(next.findPredecessor().roomId, room_id);
        assert.deepEqual(bert.client.getRoomUpgradeHistory(replacement_room, true).map((r) => r.roomId), [room_id, replacement_room]);
    });

    test("a space shows its rooms", async () => {
        const { anna, bert } = home;
        const { room_id: room } = await anna.client.createRoom({ preset: "public_chat", name: "Choir" });
        const { room_id: space } = await anna.client.createRoom({ preset: "public_chat", name: "Club", creation_content: { type: "m.space" } });
        await anna.client.sendStateEvent(space, "m.space.child", { via: ["localhost"], suggested: true }, room);
        const { rooms } = await bert.client.getRoomHierarchy(space, 50, 3);
        assert.deepEqual(rooms.map((r) => r.name), ["Club", "Choir"]);
        assert.equal(rooms[0].children_state[0].state_key, room);
        assert.ok((await anna.room(space)).isSpaceRoom());
    });

    test("members are loaded when somebody looks", async () => {
        const { anna, bert, cleo } = home;
        const { room_id } = await anna.client.createRoom({ preset: "public_chat", name: "Assembly" });
        for (const m of [bert, cleo]) await m.client.joinRoom(room_id);
        for (let i = 0; i < 25; i++) await anna.say(room_id, `motion ${i}`);
        const late = await Member.login(home.server, "cleo");
        await late.start({ initialSyncLimit: 5 });
        const room = await late.room(room_id);
        assert.equal(room.getJoinedMemberCount(), 3);
        assert.deepEqual(room.getJoinedMembers().map((m) => m.userId).sort(), [anna.userId, cleo.userId]);
        assert.ok(await room.loadMembersIfNeeded());
        assert.deepEqual(room.getJoinedMembers().map((m) => m.userId).sort(), [anna.userId, bert.userId, cleo.userId]);
        const { chunk } = await late.client.members(room_id, undefined, "leave");
        assert.equal(chunk.length, 3);
        late.stop();
    });
});
