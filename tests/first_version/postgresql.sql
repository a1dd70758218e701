SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.action (
    id bigint NOT NULL,
    site text NOT NULL,
    vehicle text NOT NULL,
    kind text NOT NULL,
    body text NOT NULL,
    who text NOT NULL,
    created_ms bigint NOT NULL,
    taken_ms bigint,
    error text DEFAULT ''::text NOT NULL
);
COMMENT ON TABLE public.action IS 'what people want of a vehicle; the site''s owner marks it as taken in the commit that steps it';
CREATE SEQUENCE public.action_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.action_id_seq OWNED BY public.action.id;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.batch (
    site text NOT NULL,
    number bigint NOT NULL,
    received_ms bigint NOT NULL,
    now_ms bigint NOT NULL,
    records bigint NOT NULL,
    content bytea NOT NULL
);
ALTER TABLE ONLY public.batch ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE public.batch IS 'the log: the records taken by one commit (zstd over JSON, store/batch.py), read by cursors';
CREATE TABLE public.chunk (
    site text NOT NULL,
    vehicle text NOT NULL,
    run text NOT NULL,
    slot_ms bigint NOT NULL,
    agent text NOT NULL,
    earliest_ms bigint NOT NULL,
    latest_ms bigint NOT NULL,
    records bigint NOT NULL,
    content bytea NOT NULL
);
ALTER TABLE ONLY public.chunk ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE public.chunk IS 'the records of an agent in ten minutes (as batch.content); with a run: of one that never knew the time, ten minutes of its own clock, between earliest and latest';
CREATE TABLE public.clock (
    site text NOT NULL,
    vehicle text NOT NULL,
    agent text NOT NULL,
    run text NOT NULL,
    number bigint NOT NULL,
    mono_ms bigint NOT NULL,
    wall_ms bigint NOT NULL,
    source text NOT NULL,
    uncertainty_ms bigint NOT NULL
);
COMMENT ON TABLE public.clock IS 'the clocks of each run, never changed once written';
CREATE TABLE public.closed_note (
    id bigint NOT NULL,
    site text NOT NULL,
    vehicle text NOT NULL,
    device text NOT NULL,
    key text NOT NULL,
    fault text NOT NULL,
    rule text NOT NULL,
    rule_version bigint NOT NULL,
    began_ms bigint NOT NULL,
    ended_ms bigint NOT NULL,
    noted_ms bigint NOT NULL
);
COMMENT ON TABLE public.closed_note IS 'faults that were over before we heard of them';
CREATE SEQUENCE public.closed_note_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.closed_note_id_seq OWNED BY public.closed_note.id;
CREATE TABLE public.counter (
    site text NOT NULL,
    name text NOT NULL,
    value bigint NOT NULL
)
WITH (fillfactor='70');
COMMENT ON TABLE public.counter IS 'how often something happened that nobody may overlook';
CREATE TABLE public.cursor (
    site text NOT NULL,
    drain text NOT NULL,
    number bigint NOT NULL
)
WITH (fillfactor='70');
COMMENT ON TABLE public.cursor IS 'the last batch that each drain has dealt with';
CREATE TABLE public.dead_letter (
    id bigint NOT NULL,
    site text NOT NULL,
    drain text NOT NULL,
    batch bigint NOT NULL,
    content text NOT NULL,
    reason text NOT NULL,
    at_ms bigint NOT NULL,
    state text DEFAULT 'held'::text NOT NULL
);
COMMENT ON TABLE public.dead_letter IS 'what the other side of a drain refused, in its words; state: held, or retry (the drain sends it)';
CREATE SEQUENCE public.dead_letter_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.dead_letter_id_seq OWNED BY public.dead_letter.id;
CREATE TABLE public.hour (
    site text NOT NULL,
    vehicle text NOT NULL,
    hour_ms bigint NOT NULL,
    samples bigint NOT NULL,
    figures bytea NOT NULL
);
ALTER TABLE ONLY public.hour ALTER COLUMN figures SET STORAGE EXTERNAL;
COMMENT ON TABLE public.hour IS 'the figures of a vehicle in an hour (zstd over JSON, core/figures.py)';
CREATE TABLE public.inventory (
    site text NOT NULL,
    vehicle text NOT NULL,
    device text NOT NULL,
    seen_ms bigint NOT NULL,
    identity text NOT NULL
);
COMMENT ON TABLE public.inventory IS 'who each device said it was (JSON), from when on';
CREATE TABLE public.notice (
    site text NOT NULL,
    id text NOT NULL,
    ticket text NOT NULL,
    body text NOT NULL,
    created_ms bigint NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_ms bigint NOT NULL,
    error text DEFAULT ''::text NOT NULL
);
COMMENT ON TABLE public.notice IS 'messages to people; id is the idempotency key; state: waiting, sent, failed';
CREATE TABLE public.quarantine (
    id bigint NOT NULL,
    site text NOT NULL,
    vehicle text NOT NULL,
    agent text NOT NULL,
    run text NOT NULL,
    pairs text NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    payload bytea NOT NULL,
    at_ms bigint NOT NULL,
    state text DEFAULT 'held'::text NOT NULL
);
COMMENT ON TABLE public.quarantine IS 'what could not be taken, receipted all the same; state: held, or retry (the owner takes it)';
CREATE SEQUENCE public.quarantine_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.quarantine_id_seq OWNED BY public.quarantine.id;
CREATE TABLE public.run (
    site text NOT NULL,
    vehicle text NOT NULL,
    agent text NOT NULL,
    run text NOT NULL,
    boot text NOT NULL,
    seen text NOT NULL,
    lost text NOT NULL,
    gone_clock boolean NOT NULL,
    first_ms bigint,
    last_ms bigint,
    heard_ms bigint NOT NULL
)
WITH (fillfactor='70');
COMMENT ON TABLE public.run IS 'what has been seen of a run and what its agent reported as lost (JSON, [[first, last], ...])';
CREATE TABLE public.run_start (
    site text NOT NULL,
    vehicle text NOT NULL,
    agent text NOT NULL,
    run text NOT NULL,
    before text NOT NULL,
    noted_ms bigint NOT NULL
);
COMMENT ON TABLE public.run_start IS 'which run came before each, as its started event told: the order of runs without a clock';
CREATE TABLE public.schema (
    site text NOT NULL,
    vehicle text NOT NULL,
    agent text NOT NULL,
    id text NOT NULL,
    content text NOT NULL
);
COMMENT ON TABLE public.schema IS 'the schemas that agents have sent (JSON), kept for ever';
CREATE TABLE public.site (
    site text NOT NULL,
    epoch bigint NOT NULL,
    owner text NOT NULL,
    heartbeat_ms bigint NOT NULL,
    last_batch bigint NOT NULL,
    state bytea
)
WITH (fillfactor='70');
COMMENT ON TABLE public.site IS 'the shard: who owns it, in which epoch, the number of its last batch, the state of its survey (JSON)';
CREATE TABLE public.ticket (
    site text NOT NULL,
    id text NOT NULL,
    vehicle text NOT NULL,
    device text NOT NULL,
    key text NOT NULL,
    fault text NOT NULL,
    severity text NOT NULL,
    sla_class text NOT NULL,
    state text NOT NULL,
    rule text NOT NULL,
    rule_version bigint NOT NULL,
    event_ms bigint NOT NULL,
    detected_ms bigint NOT NULL,
    opened_ms bigint NOT NULL,
    resolved_event_ms bigint,
    resolved_ms bigint,
    evidence text NOT NULL
);
COMMENT ON TABLE public.ticket IS 'fault tickets as they stand now';
CREATE TABLE public.ticket_history (
    id bigint NOT NULL,
    site text NOT NULL,
    ticket text NOT NULL,
    at_ms bigint NOT NULL,
    who text NOT NULL,
    what text NOT NULL,
    text text NOT NULL
);
COMMENT ON TABLE public.ticket_history IS 'what happened to each ticket, in order, never changed';
CREATE SEQUENCE public.ticket_history_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.ticket_history_id_seq OWNED BY public.ticket_history.id;
CREATE TABLE public.vehicle (
    site text NOT NULL,
    vehicle text NOT NULL,
    state bytea NOT NULL
)
WITH (fillfactor='70');
ALTER TABLE ONLY public.vehicle ALTER COLUMN state SET STORAGE MAIN;
ALTER TABLE ONLY public.vehicle ALTER COLUMN state SET COMPRESSION lz4;
COMMENT ON TABLE public.vehicle IS 'what step keeps of a vehicle (JSON)';
ALTER TABLE ONLY public.action ALTER COLUMN id SET DEFAULT nextval('public.action_id_seq'::regclass);
ALTER TABLE ONLY public.closed_note ALTER COLUMN id SET DEFAULT nextval('public.closed_note_id_seq'::regclass);
ALTER TABLE ONLY public.dead_letter ALTER COLUMN id SET DEFAULT nextval('public.dead_letter_id_seq'::regclass);
ALTER TABLE ONLY public.quarantine ALTER COLUMN id SET DEFAULT nextval('public.quarantine_id_seq'::regclass);
ALTER TABLE ONLY public.ticket_history ALTER COLUMN id SET DEFAULT nextval('public.ticket_history_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0003');
INSERT INTO public.batch VALUES ('north', 535, 1790000000000, 1790005340000, 4, '\x28b52ffd643f00fd040042ca1f1e60459c03b30ddbede25f573bf82bf9342808a1b6d6befb0bb744198260b9bbbbbbb9ee86a139c89433a620887adeba0946bde3404908279be7914c6fa6e030f7acdfcd23933b466ef134eb2d50874780acfa7cc214d5076c22b71423bf61d6f3a901a701becb72595fb92cd5db31a0444bdfd0c549017d2ff5bc66d52f0d0b00209cd28c2c30aecd8284b0009c50b193609e61a5aafd9fd6e500637a894d55');
INSERT INTO public.batch VALUES ('north', 536, 1790000000000, 1790005350000, 4, '\x28b52ffd643f000d0500524a201f6047ac03a36ad82de83bc655cd8144e7028b27586f852d694b50a74910045dbbbbbb99ee0380e6e052ec4b31c340cb5bf7c0a8773c204740c9e459a4d21b4928ca3deb77b3c875c7c6152ccd7a1b50c04330567d9e29a6fa844de37662e327487a3eb5e034c2778f3cd2571e49f57606cc404bdfd0c58700fa4e6879cdaa4f1a0b00201cd28c3430aecd8284b0009c50b193609e61a5aafd9fd6e5006397b2aae2');
INSERT INTO public.batch VALUES ('north', 537, 1790000000000, 1790005360000, 4, '\x28b52ffd643f000d0500524a201f60459c0343a929214d1bf9907ab3526691003aa87597949a5ccb7411040117bbbbbba9ee004473902d76b61882a4e6ad8b60d43b1612a46072791eb9f4560ecc72cffadd3c5270c7c7359a66bd0929f10c8e559f4f1653fdc0267243f1f117453d9f3a705ae0bb4b26ea4a264af57600cea2a56fe862c480be556a5eb3ea95060b00201cd28c3430aecd8284b0009c50b193609e61a5aafd9fd6e50063cfd0c57d');
INSERT INTO public.batch VALUES ('north', 538, 1790000000000, 1790005370000, 4, '\x28b52ffd643f00050500520a201e602b700ed39a126bdaec2983bf92273cb842d8fab5924dac25ca1004cb05bbbbbb987783c1624ea5e22a15089da42d6bdcd3fb0d1c0601c1e34860d2db2840126bd6ef228100f75bd842b2acb7c03968048a558f3752a1fa874574336ff10f238f470d30dae1bb28551e53a5eacd18948485be1d7b8d82f39d2769cbaa4f0d0b00201cd28c3430aecd8284b0009c50b193609e61a5aafd9fd6e50063c0913619');
INSERT INTO public.batch VALUES ('north', 539, 1790000000000, 1790005380000, 4, '\x28b52ffd643f000d0500524a201f604b9b03d33a27c4c65e2d18f92d45d03342586a254b4f2c319b2843102c17bbbbbb987783c1624ea1748592611ca52d4bb8a7f71b380d4282c8b140a4b72a48106bd6ef628188fb316c4159d65be01c3482c5aac703a0a4fa8745e36e1ee3232a8f470d30dae1bb298f3cca23556fc6b0242cf4edd84b2838df7994b6acfad40b00201cd28c3430aecd8284b0009c50b193609e61a5aafd9fd6e50063cf97aa77');
INSERT INTO public.batch VALUES ('north', 540, 1790000000000, 1790005390000, 4, '\x28b52ffd643f000d0500324a202060499c03b30ddbadce5f55eb982be93460748540f4bf35c827d612650882e502bbbbbb987782c0624e1d57d46118a969cb22f7f47e89041130b81c0b547a27018c62cdfa5d2cd070bf871d34cb7a23d2400370ac7abc3a54bfb068dcd07bfc25c9e3510f462b7c5749248f2492aa3743700a16fa76ec4506ce77a6a62dab3e350b00209cd28c2c30aecd8284b0009c50b193209f77a5aafd9fd6e50063fbd7c23a');
INSERT INTO public.clock VALUES ('north', 'amb-1', 'router', '00000000000000a1', 0, 0, 1790000000000, 'ntp', 20);
INSERT INTO public.clock VALUES ('north', 'amb-2', 'router', '00000000000000a2', 0, 0, 1790000000000, 'ntp', 20);
INSERT INTO public.closed_note VALUES (1, 'north', 'amb-2', 'modem', 'sim_absent/modem', 'sim_absent', 'sim_absent', 1, 1790002000000, 1790002200000, 1790002600000);
INSERT INTO public.inventory VALUES ('north', 'amb-1', 'router', 1790000005000, '{"model":"RUTX50","firmware":"RUTX_R_00.07.08"}');
INSERT INTO public.notice VALUES ('north', 'north/amb-1-5/opened/1790005030000', 'amb-1-5', '{"id":"north/amb-1-5/opened/1790005030000","what":"opened","site":"north","vehicle":"amb-1","device":"modem","ticket":"amb-1-5","fault":"sim_absent","severity":"critical","sla_class":"disaster","event_ms":1790005000000,"detected_ms":1790005030000,"resolved_event_ms":null,"text":{"zh":"amb-1 modem SIM卡未检测到 30 秒 (灾难性故障): 重新插拔SIM卡","en":"amb-1 modem SIM card not detected for 30 s (disaster): reseat SIM"}}', 1790005030000, 'waiting', 0, 1790005030000, '');
INSERT INTO public.notice VALUES ('north', 'north/amb-1-1/opened/1790000005000', 'amb-1-1', '{"id":"north/amb-1-1/opened/1790000005000","what":"opened","site":"north","vehicle":"amb-1","device":"router","ticket":"amb-1-1","fault":"firmware_changed","severity":"minor","sla_class":"deferrable","event_ms":1790000005000,"detected_ms":1790000005000,"resolved_event_ms":null,"text":{"zh":"amb-1 router 固件版本变化 0 秒 (可延后处理)","en":"amb-1 router Firmware version changed for 0 s (deferrable)"}}', 1790000005000, 'sent', 1, 1790000005000, '');
INSERT INTO public.notice VALUES ('north', 'north/amb-1-2/opened/1790000040000', 'amb-1-2', '{"id":"north/amb-1-2/opened/1790000040000","what":"opened","site":"north","vehicle":"amb-1","device":"modem","ticket":"amb-1-2","fault":"sim_absent","severity":"critical","sla_class":"disaster","event_ms":1790000010000,"detected_ms":1790000040000,"resolved_event_ms":null,"text":{"zh":"amb-1 modem SIM卡未检测到 30 秒 (灾难性故障): 重新插拔SIM卡","en":"amb-1 modem SIM card not detected for 30 s (disaster): reseat SIM"}}', 1790000040000, 'sent', 1, 1790000040000, '');
INSERT INTO public.notice VALUES ('north', 'north/amb-1-2/resolved/1790000630000', 'amb-1-2', '{"id":"north/amb-1-2/resolved/1790000630000","what":"resolved","site":"north","vehicle":"amb-1","device":"modem","ticket":"amb-1-2","fault":"sim_absent","severity":"critical","sla_class":"disaster","event_ms":1790000010000,"detected_ms":1790000040000,"resolved_event_ms":1790000600000,"text":{"zh":"amb-1 modem 已恢复: SIM卡未检测到, 历时 9 分钟","en":"amb-1 modem resolved: SIM card not detected, lasted 9 min"}}', 1790000630000, 'sent', 1, 1790000630000, '');
INSERT INTO public.notice VALUES ('north', 'north/amb-1-3/opened/1790001230000', 'amb-1-3', '{"id":"north/amb-1-3/opened/1790001230000","what":"opened","site":"north","vehicle":"amb-1","device":"modem","ticket":"amb-1-3","fault":"sim_absent","severity":"critical","sla_class":"disaster","event_ms":1790001200000,"detected_ms":1790001230000,"resolved_event_ms":null,"text":{"zh":"amb-1 modem SIM卡未检测到 30 秒 (灾难性故障): 重新插拔SIM卡","en":"amb-1 modem SIM card not detected for 30 s (disaster): reseat SIM"}}', 1790001230000, 'sent', 1, 1790001230000, '');
INSERT INTO public.notice VALUES ('north', 'north/amb-1-3/resolved/1790001830000', 'amb-1-3', '{"id":"north/amb-1-3/resolved/1790001830000","what":"resolved","site":"north","vehicle":"amb-1","device":"modem","ticket":"amb-1-3","fault":"sim_absent","severity":"critical","sla_class":"disaster","event_ms":1790001200000,"detected_ms":1790001230000,"resolved_event_ms":1790001800000,"text":{"zh":"amb-1 modem 已恢复: SIM卡未检测到, 历时 10 分钟","en":"amb-1 modem resolved: SIM card not detected, lasted 10 min"}}', 1790001830000, 'sent', 1, 1790001830000, '');
INSERT INTO public.notice VALUES ('north', 'north/amb-2-1/opened/1790002190000', 'amb-2-1', '{"id":"north/amb-2-1/opened/1790002190000","what":"opened","site":"north","vehicle":"amb-2","device":"amb-2","ticket":"amb-2-1","fault":"vehicle_silent","severity":"critical","sla_class":"disaster","event_ms":1790001990000,"detected_ms":1790002190000,"resolved_event_ms":null,"text":{"zh":"amb-2 车辆失联 3 分钟 (灾难性故障): 致电随车人员","en":"amb-2 Vehicle silent for 3 min (disaster): call the crew"}}', 1790002190000, 'sent', 1, 1790002190000, '');
INSERT INTO public.notice VALUES ('north', 'north/amb-2-1/resolved/1790002630000', 'amb-2-1', '{"id":"north/amb-2-1/resolved/1790002630000","what":"resolved","site":"north","vehicle":"amb-2","device":"amb-2","ticket":"amb-2-1","fault":"vehicle_silent","severity":"critical","sla_class":"disaster","event_ms":1790001990000,"detected_ms":1790002190000,"resolved_event_ms":1790002600000,"text":{"zh":"amb-2 已恢复: 车辆失联, 历时 10 分钟","en":"amb-2 resolved: Vehicle silent, lasted 10 min"}}', 1790002630000, 'sent', 1, 1790002630000, '');
INSERT INTO public.notice VALUES ('north', 'north/amb-2-2/opened/1790003300000', 'amb-2-2', '{"id":"north/amb-2-2/opened/1790003300000","what":"opened","site":"north","vehicle":"amb-2","device":"modem","ticket":"amb-2-2","fault":"modem_hot","severity":"major","sla_class":"general","event_ms":1790003000000,"detected_ms":1790003300000,"resolved_event_ms":null,"text":{"zh":"amb-2 modem 模组过热 5 分钟 (一般性故障): 检查通风散热","en":"amb-2 modem Modem overheated for 5 min (general fault): check ventilation"}}', 1790003300000, 'sent', 1, 1790003300000, '');
INSERT INTO public.notice VALUES ('north', 'north/amb-1-4/opened/1790004060000', 'amb-1-4', '{"id":"north/amb-1-4/opened/1790004060000","what":"opened","site":"north","vehicle":"amb-1","device":"router","ticket":"amb-1-4","fault":"high_delay","severity":"major","sla_class":"general","event_ms":1790004000000,"detected_ms":1790004060000,"resolved_event_ms":null,"text":{"zh":"amb-1 router 时延过高 1 分钟 (一般性故障)","en":"amb-1 router Delay too high for 1 min (general fault)"}}', 1790004060000, 'sent', 1, 1790004060000, '');
INSERT INTO public.notice VALUES ('north', 'north/north.1/opened/1790005500000', 'north.1', '{"id":"north/north.1/opened/1790005500000","what":"opened","site":"north","vehicle":"","device":"north","ticket":"north.1","fault":"site_unreachable","severity":"critical","sla_class":"disaster","event_ms":1790005390000,"detected_ms":1790005500000,"resolved_event_ms":null,"text":{"zh":"north 站点通信中断 1 分钟 (灾难性故障)","en":"north Site communication lost for 1 min (disaster)"}}', 1790005500000, 'sent', 1, 1790005500000, '');
INSERT INTO public.run VALUES ('north', 'amb-1', 'router', '00000000000000a1', 'boot-1', '[[0,1618]]', '[]', false, 1790000010000, 1790005390000, 1790005390000);
INSERT INTO public.run VALUES ('north', 'amb-2', 'router', '00000000000000a2', 'boot-1', '[[0,538]]', '[]', false, 1790000010000, 1790005390000, 1790005390000);
INSERT INTO public.schema VALUES ('north', 'amb-1', 'router', 'iUmg-L', '{"input":"modem","device":"modem","columns":[["modem.sim",{}],["modem.temperature_c",{}]]}');
INSERT INTO public.schema VALUES ('north', 'amb-1', 'router', 'me3MX7', '{"input":"probe","device":"uplink","columns":[["link.rtt_ms",{"target":"a"}],["link.rtt_ms",{"target":"b/c=d, e"}]]}');
INSERT INTO public.schema VALUES ('north', 'amb-1', 'router', 'Mhp-Nt', '{"input":"snmp","device":"router","columns":[["device.reachable",{}]]}');
INSERT INTO public.schema VALUES ('north', 'amb-2', 'router', 'iUmg-L', '{"input":"modem","device":"modem","columns":[["modem.sim",{}],["modem.temperature_c",{}]]}');
INSERT INTO public.schema VALUES ('north', 'amb-2', 'router', 'me3MX7', '{"input":"probe","device":"uplink","columns":[["link.rtt_ms",{"target":"a"}],["link.rtt_ms",{"target":"b/c=d, e"}]]}');
INSERT INTO public.schema VALUES ('north', 'amb-2', 'router', 'Mhp-Nt', '{"input":"snmp","device":"router","columns":[["device.reachable",{}]]}');
INSERT INTO public.site VALUES ('north', 1, 'first-version', 1795847264954, 540, '\x7b22666f726d6174223a312c2273697465223a226e6f727468222c226e6578745f7469636b6574223a322c227469636b657473223a7b22736974655f756e726561636861626c652f6e6f727468223a7b226964223a226e6f7274682e31222c2273697465223a226e6f727468222c2276656869636c65223a22222c22646576696365223a226e6f727468222c226b6579223a22736974655f756e726561636861626c652f6e6f727468222c226661756c74223a22736974655f756e726561636861626c65222c227365766572697479223a22637269746963616c222c22736c615f636c617373223a226469736173746572222c227374617465223a226f70656e222c2272756c65223a22736974655f756e726561636861626c65222c2272756c655f76657273696f6e223a312c226576656e745f6d73223a313739303030353339303030302c2264657465637465645f6d73223a313739303030353530303030302c226f70656e65645f6d73223a313739303030353530303030302c227265736f6c7665645f6576656e745f6d73223a6e756c6c2c227265736f6c7665645f6d73223a6e756c6c2c2265766964656e6365223a5b7b2272756c65223a22736974655f756e726561636861626c65222c2272756c655f76657273696f6e223a312c2273616d706c6573223a5b5d2c2274657874223a2232206f6620322076656869636c65732073696c656e74227d5d7d7d2c2273696c656e745f6d73223a313739303030353530303030302c226261636b5f6d73223a6e756c6c2c22636c65617265645f6d73223a6e756c6c7d');
INSERT INTO public.ticket VALUES ('north', 'amb-1-1', 'amb-1', 'router', 'firmware_changed/router', 'firmware_changed', 'minor', 'deferrable', 'open', 'firmware_changed', 1, 1790000005000, 1790000005000, 1790000005000, NULL, NULL, '[{"rule":"firmware_changed","rule_version":1,"samples":[],"text":"RUTX_R_00.07.06 -> RUTX_R_00.07.08"}]');
INSERT INTO public.ticket VALUES ('north', 'amb-1-2', 'amb-1', 'modem', 'sim_absent/modem', 'sim_absent', 'critical', 'disaster', 'resolved', 'sim_absent', 1, 1790000010000, 1790000040000, 1790000040000, 1790000600000, 1790000630000, '[{"rule":"sim_absent","rule_version":1,"samples":[{"agent":"router","run":"00000000000000a1","sequence":2,"time_ms":1790000010000,"device":"modem","metric":"modem.sim","labels":{},"value":"absent"},{"agent":"router","run":"00000000000000a1","sequence":11,"time_ms":1790000040000,"device":"modem","metric":"modem.sim","labels":{},"value":"absent"}],"text":""},{"rule":"sim_absent","rule_version":1,"samples":[{"agent":"router","run":"00000000000000a1","sequence":179,"time_ms":1790000600000,"device":"modem","metric":"modem.sim","labels":{},"value":"ready"},{"agent":"router","run":"00000000000000a1","sequence":188,"time_ms":1790000630000,"device":"modem","metric":"modem.sim","labels":{},"value":"ready"}],"text":""}]');
INSERT INTO public.ticket VALUES ('north', 'amb-1-3', 'amb-1', 'modem', 'sim_absent/modem', 'sim_absent', 'critical', 'disaster', 'resolved', 'sim_absent', 1, 1790001200000, 1790001230000, 1790001230000, 1790001800000, 1790001830000, '[{"rule":"sim_absent","rule_version":1,"samples":[{"agent":"router","run":"00000000000000a1","sequence":359,"time_ms":1790001200000,"device":"modem","metric":"modem.sim","labels":{},"value":"absent"},{"agent":"router","run":"00000000000000a1","sequence":368,"time_ms":1790001230000,"device":"modem","metric":"modem.sim","labels":{},"value":"absent"}],"text":""},{"rule":"sim_absent","rule_version":1,"samples":[{"agent":"router","run":"00000000000000a1","sequence":539,"time_ms":1790001800000,"device":"modem","metric":"modem.sim","labels":{},"value":"ready"},{"agent":"router","run":"00000000000000a1","sequence":548,"time_ms":1790001830000,"device":"modem","metric":"modem.sim","labels":{},"value":"ready"}],"text":""}]');
INSERT INTO public.ticket VALUES ('north', 'amb-2-1', 'amb-2', 'amb-2', 'vehicle_silent/amb-2', 'vehicle_silent', 'critical', 'disaster', 'resolved', 'vehicle_silent', 1, 1790001990000, 1790002190000, 1790002190000, 1790002600000, 1790002630000, '[{"rule":"vehicle_silent","rule_version":1,"samples":[],"text":"no word for 200 s"},{"rule":"vehicle_silent","rule_version":1,"samples":[],"text":"the vehicle speaks again"}]');
INSERT INTO public.ticket VALUES ('north', 'amb-2-2', 'amb-2', 'modem', 'modem_hot/modem', 'modem_hot', 'major', 'general', 'open', 'modem_hot', 1, 1790003000000, 1790003300000, 1790003300000, NULL, NULL, '[{"rule":"modem_hot","rule_version":1,"samples":[{"agent":"router","run":"00000000000000a2","sequence":299,"time_ms":1790003000000,"device":"modem","metric":"modem.temperature_c","labels":{},"value":100.0},{"agent":"router","run":"00000000000000a2","sequence":329,"time_ms":1790003300000,"device":"modem","metric":"modem.temperature_c","labels":{},"value":100.0}],"text":""}]');
INSERT INTO public.ticket VALUES ('north', 'amb-1-4', 'amb-1', 'router', 'high_delay/router/target=b/c=d, e', 'high_delay', 'major', 'general', 'open', 'high_delay', 1, 1790004000000, 1790004060000, 1790004060000, NULL, NULL, '[{"rule":"high_delay","rule_version":1,"samples":[{"agent":"router","run":"00000000000000a1","sequence":1200,"time_ms":1790004000000,"device":"uplink","metric":"link.rtt_ms","labels":{"target":"b/c=d, e"},"value":900.0},{"agent":"router","run":"00000000000000a1","sequence":1218,"time_ms":1790004060000,"device":"uplink","metric":"link.rtt_ms","labels":{"target":"b/c=d, e"},"value":900.0}],"text":""}]');
INSERT INTO public.ticket VALUES ('north', 'amb-1-5', 'amb-1', 'modem', 'sim_absent/modem', 'sim_absent', 'critical', 'disaster', 'open', 'sim_absent', 1, 1790005000000, 1790005030000, 1790005030000, NULL, NULL, '[{"rule":"sim_absent","rule_version":1,"samples":[{"agent":"router","run":"00000000000000a1","sequence":1499,"time_ms":1790005000000,"device":"modem","metric":"modem.sim","labels":{},"value":"absent"},{"agent":"router","run":"00000000000000a1","sequence":1508,"time_ms":1790005030000,"device":"modem","metric":"modem.sim","labels":{},"value":"absent"}],"text":""}]');
INSERT INTO public.ticket VALUES ('north', 'north.1', '', 'north', 'site_unreachable/north', 'site_unreachable', 'critical', 'disaster', 'open', 'site_unreachable', 1, 1790005390000, 1790005500000, 1790005500000, NULL, NULL, '[{"rule":"site_unreachable","rule_version":1,"samples":[],"text":"2 of 2 vehicles silent"}]');
INSERT INTO public.ticket_history VALUES (1, 'north', 'amb-1-1', 1790000005000, 'rule', 'opened', 'RUTX_R_00.07.06 -> RUTX_R_00.07.08');
INSERT INTO public.ticket_history VALUES (2, 'north', 'amb-1-2', 1790000040000, 'rule', 'opened', 'modem.sim absent');
INSERT INTO public.ticket_history VALUES (3, 'north', 'amb-1-2', 1790000630000, 'rule', 'resolved', 'modem.sim ready');
INSERT INTO public.ticket_history VALUES (4, 'north', 'amb-1-3', 1790001230000, 'rule', 'opened', 'modem.sim absent');
INSERT INTO public.ticket_history VALUES (5, 'north', 'amb-1-3', 1790001830000, 'rule', 'resolved', 'modem.sim ready');
INSERT INTO public.ticket_history VALUES (6, 'north', 'amb-2-1', 1790002190000, 'rule', 'opened', 'no word for 200 s');
INSERT INTO public.ticket_history VALUES (7, 'north', 'amb-2-1', 1790002630000, 'rule', 'resolved', 'the vehicle speaks again');
INSERT INTO public.ticket_history VALUES (8, 'north', 'amb-2-2', 1790003300000, 'rule', 'opened', 'modem.temperature_c 100.0');
INSERT INTO public.ticket_history VALUES (9, 'north', 'amb-1-4', 1790004060000, 'rule', 'opened', 'link.rtt_ms{b/c=d, e} 900.0');
INSERT INTO public.ticket_history VALUES (10, 'north', 'amb-1-5', 1790005030000, 'rule', 'opened', 'modem.sim absent');
INSERT INTO public.ticket_history VALUES (11, 'north', 'north.1', 1790005500000, 'survey', 'opened', '2 of 2 vehicles silent');
INSERT INTO public.vehicle VALUES ('north', 'amb-1', '\x7b22666f726d6174223a312c2273697465223a226e6f727468222c2276656869636c65223a22616d622d31222c226e6578745f7469636b6574223a362c22676976656e223a22222c226167656e7473223a7b22726f75746572223a7b2272756e223a2230303030303030303030303030306131222c2273657373696f6e223a312c226d616368696e65223a226d616368696e652d616d622d31222c2276657273696f6e223a22302e312e30222c22696e74657276616c5f6d73223a31303030302c22626f726e5f6d73223a313739303030303030303030302c2268656172645f6d73223a313739303030353339303030302c2266726f6d5f6d73223a313739303030303030303030302c226c656674223a22222c226c6f7374223a66616c73652c226561726c696572223a5b5d7d7d2c22736f7572636573223a7b22726f757465722f6d6f64656d2f6d6f64656d223a5b313739303030353339303030302c313739303030353339303030302c313739303030303031303030302c31303030305d2c22726f757465722f75706c696e6b2f70726f6265223a5b313739303030353339303030302c313739303030353339303030302c313739303030303031303030302c31303030305d2c22726f757465722f726f757465722f736e6d70223a5b313739303030353339303030302c313739303030353339303030302c313739303030303031303030302c31303030305d7d2c22636f6e646974696f6e73223a7b22686967685f64656c61797c726f757465722f75706c696e6b2f70726f62657c7461726765743d622f633d642c2065223a7b2272756c65223a22686967685f64656c6179222c2276657273696f6e223a312c22736f75726365223a22726f757465722f75706c696e6b2f70726f6265222c22646576696365223a2275706c696e6b222c227469636b6574223a22686967685f64656c61792f726f757465722f7461726765743d622f633d642c2065222c227068617365223a22666972696e67222c2273696e63655f6d73223a313739303030343030303030302c22636f756e7465645f6d73223a313739303030343030303030302c226c6173745f6d73223a313739303030353339303030302c22636c6561725f6d73223a6e756c6c2c2268656c64223a66616c73652c226669727374223a5b5b22726f75746572222c2230303030303030303030303030306131222c313230302c313739303030343030303030302c2275706c696e6b222c226c696e6b2e7274745f6d73222c7b22746172676574223a22622f633d642c2065227d2c3930302e305d5d7d2c2273696d5f616273656e747c726f757465722f6d6f64656d2f6d6f64656d7c223a7b2272756c65223a2273696d5f616273656e74222c2276657273696f6e223a312c22736f75726365223a22726f757465722f6d6f64656d2f6d6f64656d222c22646576696365223a226d6f64656d222c227469636b6574223a2273696d5f616273656e742f6d6f64656d222c227068617365223a22666972696e67222c2273696e63655f6d73223a313739303030353030303030302c22636f756e7465645f6d73223a313739303030353030303030302c226c6173745f6d73223a313739303030353339303030302c22636c6561725f6d73223a6e756c6c2c2268656c64223a66616c73652c226669727374223a5b5b22726f75746572222c2230303030303030303030303030306131222c313439392c313739303030353030303030302c226d6f64656d222c226d6f64656d2e73696d222c7b7d2c22616273656e74225d5d7d7d2c227469636b657473223a7b226669726d776172655f6368616e6765642f726f75746572223a7b226964223a22616d622d312d31222c2273697465223a226e6f727468222c2276656869636c65223a22616d622d31222c22646576696365223a22726f75746572222c226b6579223a226669726d776172655f6368616e6765642f726f75746572222c226661756c74223a226669726d776172655f6368616e676564222c227365766572697479223a226d696e6f72222c22736c615f636c617373223a2264656665727261626c65222c227374617465223a226f70656e222c2272756c65223a226669726d776172655f6368616e676564222c2272756c655f76657273696f6e223a312c226576656e745f6d73223a313739303030303030353030302c2264657465637465645f6d73223a313739303030303030353030302c226f70656e65645f6d73223a313739303030303030353030302c227265736f6c7665645f6576656e745f6d73223a6e756c6c2c227265736f6c7665645f6d73223a6e756c6c2c2265766964656e6365223a5b7b2272756c65223a226669726d776172655f6368616e676564222c2272756c655f76657273696f6e223a312c2273616d706c6573223a5b5d2c2274657874223a22525554585f525f30302e30372e3036202d3e20525554585f525f30302e30372e3038227d5d7d2c22686967685f64656c61792f726f757465722f7461726765743d622f633d642c2065223a7b226964223a22616d622d312d34222c2273697465223a226e6f727468222c2276656869636c65223a22616d622d31222c22646576696365223a22726f75746572222c226b6579223a22686967685f64656c61792f726f757465722f7461726765743d622f633d642c2065222c226661756c74223a22686967685f64656c6179222c227365766572697479223a226d616a6f72222c22736c615f636c617373223a2267656e6572616c222c227374617465223a226f70656e222c2272756c65223a22686967685f64656c6179222c2272756c655f76657273696f6e223a312c226576656e745f6d73223a313739303030343030303030302c2264657465637465645f6d73223a313739303030343036303030302c226f70656e65645f6d73223a313739303030343036303030302c227265736f6c7665645f6576656e745f6d73223a6e756c6c2c227265736f6c7665645f6d73223a6e756c6c2c2265766964656e6365223a5b7b2272756c65223a22686967685f64656c6179222c2272756c655f76657273696f6e223a312c2273616d706c6573223a5b7b226167656e74223a22726f75746572222c2272756e223a2230303030303030303030303030306131222c2273657175656e6365223a313230302c2274696d655f6d73223a313739303030343030303030302c22646576696365223a2275706c696e6b222c226d6574726963223a226c696e6b2e7274745f6d73222c226c6162656c73223a7b22746172676574223a22622f633d642c2065227d2c2276616c7565223a3930302e307d2c7b226167656e74223a22726f75746572222c2272756e223a2230303030303030303030303030306131222c2273657175656e6365223a313231382c2274696d655f6d73223a313739303030343036303030302c22646576696365223a2275706c696e6b222c226d6574726963223a226c696e6b2e7274745f6d73222c226c6162656c73223a7b22746172676574223a22622f633d642c2065227d2c2276616c7565223a3930302e307d5d2c2274657874223a22227d5d7d2c2273696d5f616273656e742f6d6f64656d223a7b226964223a22616d622d312d35222c2273697465223a226e6f727468222c2276656869636c65223a22616d622d31222c22646576696365223a226d6f64656d222c226b6579223a2273696d5f616273656e742f6d6f64656d222c226661756c74223a2273696d5f616273656e74222c227365766572697479223a22637269746963616c222c22736c615f636c617373223a226469736173746572222c227374617465223a226f70656e222c2272756c65223a2273696d5f616273656e74222c2272756c655f76657273696f6e223a312c226576656e745f6d73223a313739303030353030303030302c2264657465637465645f6d73223a313739303030353033303030302c226f70656e65645f6d73223a313739303030353033303030302c227265736f6c7665645f6576656e745f6d73223a6e756c6c2c227265736f6c7665645f6d73223a6e756c6c2c2265766964656e6365223a5b7b2272756c65223a2273696d5f616273656e74222c2272756c655f76657273696f6e223a312c2273616d706c6573223a5b7b226167656e74223a22726f75746572222c2272756e223a2230303030303030303030303030306131222c2273657175656e6365223a313439392c2274696d655f6d73223a313739303030353030303030302c22646576696365223a226d6f64656d222c226d6574726963223a226d6f64656d2e73696d222c226c6162656c73223a7b7d2c2276616c7565223a22616273656e74227d2c7b226167656e74223a22726f75746572222c2272756e223a2230303030303030303030303030306131222c2273657175656e6365223a313530382c2274696d655f6d73223a313739303030353033303030302c22646576696365223a226d6f64656d222c226d6574726963223a226d6f64656d2e73696d222c226c6162656c73223a7b7d2c2276616c7565223a22616273656e74227d5d2c2274657874223a22227d5d7d7d2c2270617374223a7b7d2c226c617465223a7b7d2c22656e646564223a7b2273696d5f616273656e742f6d6f64656d223a5b5b313739303030303031303030302c313739303030303630303030305d2c5b313739303030313230303030302c313739303030313830303030305d5d7d2c226661637473223a7b7d2c2270726f6f6673223a7b22726f757465722f75706c696e6b2f70726f6265223a5b5b2275706c696e6b225d2c313739303030353438353030305d7d2c2270726f626c656d73223a7b7d2c2270756c736573223a7b7d2c22696e76656e746f7279223a7b22726f75746572223a5b313739303030303030353030302c22736e6d70222c7b226d6f64656c223a22525554583530222c226669726d77617265223a22525554585f525f30302e30372e3038227d5d7d2c226368616e676573223a7b22726f75746572223a5b22726f75746572222c22525554585f525f30302e30372e3036222c22525554585f525f30302e30372e3038222c313739303030303030353030302c747275655d7d2c2261736b6564223a5b5d2c22736b6970706564223a7b7d7d');
INSERT INTO public.vehicle VALUES ('north', 'amb-2', '\x7b22666f726d6174223a312c2273697465223a226e6f727468222c2276656869636c65223a22616d622d32222c226e6578745f7469636b6574223a332c22676976656e223a22222c226167656e7473223a7b22726f75746572223a7b2272756e223a2230303030303030303030303030306132222c2273657373696f6e223a312c226d616368696e65223a226d616368696e652d616d622d32222c2276657273696f6e223a22302e312e30222c22696e74657276616c5f6d73223a31303030302c22626f726e5f6d73223a313739303030303030303030302c2268656172645f6d73223a313739303030353339303030302c2266726f6d5f6d73223a313739303030323630303030302c226c656674223a22222c226c6f7374223a66616c73652c226561726c696572223a5b5d7d7d2c22736f7572636573223a7b22726f757465722f6d6f64656d2f6d6f64656d223a5b313739303030353339303030302c313739303030353339303030302c313739303030323630303030302c31303030305d7d2c22636f6e646974696f6e73223a7b226d6f64656d5f686f747c726f757465722f6d6f64656d2f6d6f64656d7c223a7b2272756c65223a226d6f64656d5f686f74222c2276657273696f6e223a312c22736f75726365223a22726f757465722f6d6f64656d2f6d6f64656d222c22646576696365223a226d6f64656d222c227469636b6574223a226d6f64656d5f686f742f6d6f64656d222c227068617365223a22666972696e67222c2273696e63655f6d73223a313739303030333030303030302c22636f756e7465645f6d73223a313739303030333030303030302c226c6173745f6d73223a313739303030353339303030302c22636c6561725f6d73223a6e756c6c2c2268656c64223a66616c73652c226669727374223a5b5b22726f75746572222c2230303030303030303030303030306132222c3239392c313739303030333030303030302c226d6f64656d222c226d6f64656d2e74656d70657261747572655f63222c7b7d2c3130302e305d5d7d7d2c227469636b657473223a7b226d6f64656d5f686f742f6d6f64656d223a7b226964223a22616d622d322d32222c2273697465223a226e6f727468222c2276656869636c65223a22616d622d32222c22646576696365223a226d6f64656d222c226b6579223a226d6f64656d5f686f742f6d6f64656d222c226661756c74223a226d6f64656d5f686f74222c227365766572697479223a226d616a6f72222c22736c615f636c617373223a2267656e6572616c222c227374617465223a226f70656e222c2272756c65223a226d6f64656d5f686f74222c2272756c655f76657273696f6e223a312c226576656e745f6d73223a313739303030333030303030302c2264657465637465645f6d73223a313739303030333330303030302c226f70656e65645f6d73223a313739303030333330303030302c227265736f6c7665645f6576656e745f6d73223a6e756c6c2c227265736f6c7665645f6d73223a6e756c6c2c2265766964656e6365223a5b7b2272756c65223a226d6f64656d5f686f74222c2272756c655f76657273696f6e223a312c2273616d706c6573223a5b7b226167656e74223a22726f75746572222c2272756e223a2230303030303030303030303030306132222c2273657175656e6365223a3239392c2274696d655f6d73223a313739303030333030303030302c22646576696365223a226d6f64656d222c226d6574726963223a226d6f64656d2e74656d70657261747572655f63222c226c6162656c73223a7b7d2c2276616c7565223a3130302e307d2c7b226167656e74223a22726f75746572222c2272756e223a2230303030303030303030303030306132222c2273657175656e6365223a3332392c2274696d655f6d73223a313739303030333330303030302c22646576696365223a226d6f64656d222c226d6574726963223a226d6f64656d2e74656d70657261747572655f63222c226c6162656c73223a7b7d2c2276616c7565223a3130302e307d5d2c2274657874223a22227d5d7d7d2c2270617374223a7b7d2c226c617465223a7b7d2c22656e646564223a7b2273696d5f616273656e742f6d6f64656d223a5b5b313739303030323030303030302c313739303030323230303030305d5d2c2276656869636c655f73696c656e742f616d622d32223a5b5b313739303030313939303030302c313739303030323630303030305d5d7d2c226661637473223a7b7d2c2270726f6f6673223a7b7d2c2270726f626c656d73223a7b7d2c2270756c736573223a7b7d2c22696e76656e746f7279223a7b7d2c226368616e676573223a7b7d2c2261736b6564223a5b5d2c22736b6970706564223a7b7d7d');
SELECT pg_catalog.setval('public.action_id_seq', 1, false);
SELECT pg_catalog.setval('public.closed_note_id_seq', 1, true);
SELECT pg_catalog.setval('public.dead_letter_id_seq', 1, false);
SELECT pg_catalog.setval('public.quarantine_id_seq', 1, false);
SELECT pg_catalog.setval('public.ticket_history_id_seq', 11, true);
ALTER TABLE ONLY public.action
    ADD CONSTRAINT action_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.batch
    ADD CONSTRAINT batch_pkey PRIMARY KEY (site, number);
ALTER TABLE ONLY public.chunk
    ADD CONSTRAINT chunk_pkey PRIMARY KEY (site, vehicle, run, slot_ms, agent);
ALTER TABLE ONLY public.clock
    ADD CONSTRAINT clock_pkey PRIMARY KEY (site, vehicle, agent, run, number);
ALTER TABLE ONLY public.closed_note
    ADD CONSTRAINT closed_note_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.counter
    ADD CONSTRAINT counter_pkey PRIMARY KEY (site, name);
ALTER TABLE ONLY public.cursor
    ADD CONSTRAINT cursor_pkey PRIMARY KEY (site, drain);
ALTER TABLE ONLY public.dead_letter
    ADD CONSTRAINT dead_letter_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.hour
    ADD CONSTRAINT hour_pkey PRIMARY KEY (site, vehicle, hour_ms);
ALTER TABLE ONLY public.inventory
    ADD CONSTRAINT inventory_pkey PRIMARY KEY (site, vehicle, device, seen_ms);
ALTER TABLE ONLY public.notice
    ADD CONSTRAINT notice_pkey PRIMARY KEY (site, id);
ALTER TABLE ONLY public.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT run_pkey PRIMARY KEY (site, vehicle, agent, run);
ALTER TABLE ONLY public.run_start
    ADD CONSTRAINT run_start_pkey PRIMARY KEY (site, vehicle, agent, run);
ALTER TABLE ONLY public.schema
    ADD CONSTRAINT schema_pkey PRIMARY KEY (site, vehicle, agent, id);
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_pkey PRIMARY KEY (site);
ALTER TABLE ONLY public.ticket_history
    ADD CONSTRAINT ticket_history_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.ticket
    ADD CONSTRAINT ticket_pkey PRIMARY KEY (site, id);
ALTER TABLE ONLY public.vehicle
    ADD CONSTRAINT vehicle_pkey PRIMARY KEY (site, vehicle);
CREATE INDEX action_waiting ON public.action USING btree (site, id) WHERE (taken_ms IS NULL);
CREATE INDEX chunk_latest ON public.chunk USING btree (site, latest_ms);
CREATE INDEX closed_note_began ON public.closed_note USING btree (site, vehicle, began_ms);
CREATE INDEX notice_waiting ON public.notice USING btree (state, next_ms);
CREATE INDEX ticket_history_ticket ON public.ticket_history USING btree (site, ticket);
CREATE UNIQUE INDEX ticket_one_open ON public.ticket USING btree (site, vehicle, key) WHERE (resolved_ms IS NULL);
CREATE INDEX ticket_opened ON public.ticket USING btree (opened_ms);
