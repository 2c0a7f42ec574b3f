-- SPDX-License-Identifier: GPL-3.0-or-later
-- Additive: the release before it goes on working.
ALTER TABLE bookings ADD COLUMN note text;
