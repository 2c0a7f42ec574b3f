-- SPDX-License-Identifier: GPL-3.0-or-later
-- The same rows at every installation: tests count on them.
INSERT INTO cars (plate, model, price_per_day_cents)
SELECT 'CR-' || lpad(n::text, 4, '0'),
       (ARRAY['Compact', 'Estate', 'Van', 'Cabriolet', 'Electric'])[1 + n % 5],
       3900 + 100 * (n % 40)
FROM generate_series(1, 50) AS n;

INSERT INTO customers (name, email, phone)
SELECT 'Customer ' || n, 'customer' || n || '@example.com', '+49 30 ' || lpad(n::text, 6, '0')
FROM generate_series(1, 200) AS n;

INSERT INTO bookings (car_id, customer_id, starts_on, ends_on, created_at)
SELECT 1 + n % 50, 1 + n % 200, DATE '2026-01-05' + n % 300, DATE '2026-01-08' + n % 300,
       TIMESTAMPTZ '2026-01-02 09:00:00+00' + n * INTERVAL '1 minute'
FROM generate_series(1, 1000) AS n;
