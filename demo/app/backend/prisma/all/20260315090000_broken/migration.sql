-- SPDX-License-Identifier: GPL-3.0-or-later
-- Fails on its second statement: nothing of it may remain.
CREATE TABLE loyalty_points (customer_id integer PRIMARY KEY, points integer NOT NULL);
ALTER TABLE loyalty_cards ADD COLUMN points integer;
