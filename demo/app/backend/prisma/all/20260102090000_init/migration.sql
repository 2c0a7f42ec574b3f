-- SPDX-License-Identifier: GPL-3.0-or-later
CREATE TABLE cars (
  id serial PRIMARY KEY,
  plate text NOT NULL UNIQUE,
  model text NOT NULL,
  price_per_day_cents integer NOT NULL CHECK (price_per_day_cents > 0)
);

CREATE TABLE customers (
  id serial PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL UNIQUE,
  phone text
);

CREATE TABLE bookings (
  id serial PRIMARY KEY,
  car_id integer NOT NULL REFERENCES cars,
  customer_id integer NOT NULL REFERENCES customers,
  starts_on date NOT NULL,
  ends_on date NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK (ends_on >= starts_on)
);
CREATE INDEX bookings_car_id_starts_on_idx ON bookings (car_id, starts_on);
