-- SPDX-License-Identifier: GPL-3.0-or-later
-- Destructive: the release before it breaks, and the telephone numbers are gone.
ALTER TABLE customers RENAME COLUMN name TO full_name;
ALTER TABLE customers DROP COLUMN phone;
