// What members store about themselves: profile, presence, account data, tags, push rules, whom they ignore.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { PushRuleKind } from "matrix-js-sdk";
import { Member, together } from "./member.js";
import { until } from "./watch.js";

export const userdata = (home) => describe("user data", () => {
    let room_id;
    before(async () => { room_id = await together([home.anna, home.bert, home.cleo]); });

    test("a new name reaches the rooms", async () => {
        const { anna, bert } = home;
        await anna.client.setDisplayName("Anna A.");
        await anna.client.setAvatarUrl("mxc://localhost/picture");
        const room = await bert.room(room_id);
        await until("the new name", () => room.getMember(anna.userId)?.name === "Anna A.");
        await until("the new picture", () => room.getMember(anna.userId).getMxcAvatarUrl() === "mxc://localhost/picture");
        assert.deepEqual(await bert.client.getProfileInfo(anna.userId), { displayname: "Anna A.", avatar_url: "mxc://localhost/picture" });
        assert.equal((await bert.client.getProfileInfo(anna.userId, "displayname")).displayname, "Anna A.");
        assert.ok(await anna.client.doesServerSupportExtendedProfiles());
        await anna.client.setExtendedProfileProperty("m.tz", "Europe/Berlin");
        assert.equal(await bert.client.getExtendedProfileProperty(anna.userId, "m.tz"), "Europe/Berlin");
        await anna.client.deleteExtendedProfileProperty("m.tz");
        assert.equal((await bert.client.getExtendedProfile(anna.userId))["m.tz"], undefined);
    });

    test("presence is shared with those one shares a room with", async () => {
        const { anna, bert } = home;
        await anna.client.setSyncPresence("unavailable"); // or each of her syncs would say that she is there
        await anna.client.setPresence({ presence: "unavailable", status_msg: "in the garden" });
        await until("anna is away", () => {
            const user = bert.client.getUser(anna.userId);
            return user?.presence === "unavailable" && user.presenceStatusMsg === "in the garden";
        });
        assert.equal((await bert.client.getPresence(anna.userId)).presence, "unavailable");
    });

    test("account data and tags reach the other device", async () => {
        const { bert } = home;
        const second = await (await Member.login(home.server, "bert")).start();
        await bert.client.setAccountData("org.example.colour", { value: "green" });
        await until("the colour", () => second.client.getAccountData("org.example.colour")?.getContent().value === "green");
        assert.deepEqual(await second.client.getAccountDataFromServer("org.example.colour"), { value: "green" });
        await bert.client.setRoomAccountData(room_id, "org.example.draft", { text: "dear all" });
        const room = await second.room(room_id);
        await until("the draft", () => room.getAccountData("org.example.draft")?.getContent().text === "dear all");
        await bert.client.setRoomTag(room_id, "m.favourite", { order: 0.25 });
        await until("the tag", () => room.tags["m.favourite"]?.order === 0.25);
        assert.deepEqual((await second.client.getRoomTags(room_id)).tags, { "m.favourite": { order: 0.25 } });
        await bert.client.deleteRoomTag(room_id, "m.favourite");
        await until("no tag", () => !room.tags["m.favourite"]);
        second.stop();
    });

    test("push rules decide what counts", async () => {
        const { anna, cleo } = home;
        const room = await cleo.room(room_id);
        const counts = () => [room.getUnreadNotificationCount("total"), room.getUnreadNotificationCount("highlight")];
        await cleo.client.sendReadReceipt(await cleo.event(room_id, await anna.say(room_id, "start")));
        await until("nothing unread", () => counts().join() === "0,0");
        await cleo.client.addPushRule("global", PushRuleKind.ContentSpecific, "cake", {
            pattern: "cake", actions: ["notify", { set_tweak: "highlight" }],
        });
        await until("the rule comes with the sync", () => cleo.client.pushRules.global.content?.some((r) => r.rule_id === "cake"));
        await anna.say(room_id, "there is cake");
        await until("a loud one", () => counts().join() === "1,1");
        await cleo.client.setPushRuleEnabled("global", PushRuleKind.ContentSpecific, "cake", false);
        await anna.say(room_id, "still cake");
        await until("two silent ones: rules hold for all that is unread", () => counts().join() === "2,0");
        await cleo.client.setPushRuleActions("global", PushRuleKind.ContentSpecific, "cake", ["notify"]);
        await cleo.client.deletePushRule("global", PushRuleKind.ContentSpecific, "cake");
        assert.ok(!(await cleo.client.getPushRules()).global.content.some((r) => r.rule_id === "cake"));

        await cleo.client.addPushRule("global", PushRuleKind.Override, room_id, {
            conditions: [{ kind: "event_match", key: "room_id", pattern: room_id }], actions: [],
        });
        await cleo.event(room_id, await anna.say(room_id, "nobody listens"));
        await cleo.client.sendReadReceipt(await cleo.event(room_id, await anna.say(room_id, "truly nobody")));
        await until("nothing unread", () => counts().join() === "0,0");
        await cleo.event(room_id, await anna.say(room_id, "still muted"));
        assert.deepEqual(counts(), [0, 0]);
        await cleo.client.deletePushRule("global", PushRuleKind.Override, room_id);
        await anna.say(room_id, "audible");
        await until("two unread", () => counts().join() === "2,0");
    });

    test("who is ignored is not heard", async () => {
        const { anna, bert, cleo } = home;
        await cleo.client.setIgnoredUsers([bert.userId]);
        await until("the list", () => cleo.client.getIgnoredUsers().includes(bert.userId));
        const hidden = await bert.say(room_id, "can you hear me?");
        const shown = await anna.say(room_id, "no");
        await cleo.event(room_id, shown);
        assert.equal(cleo.client.getRoom(room_id).findEventById(hidden), undefined);
        await cleo.client.setIgnoredUsers([]);
        await until("the empty list", () => cleo.client.getIgnoredUsers().length === 0);
        await cleo.event(room_id, await bert.say(room_id, "and now?"));
    });
});
