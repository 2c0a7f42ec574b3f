// SPDX-License-Identifier: GPL-3.0-or-later
// The routes: method, path with named parts, handler. The path pattern is also
// the metrics' "endpoint", so that ids do not multiply the series.
import { bookingsFail } from './faults.js';
import { health } from './health.js';
import { HttpError, json, readBody, readJson } from './http.js';
import { contentType, exposition } from './metrics.js';

const REPORT_SECONDS = 3;
const PHOTO_LIMIT = 5 * 1024 * 1024;

export function routes(app) {
  const { config, pool, cache, storage } = app;
  const { customerName, notes, fault } = config.release;
  const noteColumn = notes ? ', b.note' : '';

  async function getHealth(_request, response) {
    const { httpStatus, body } = await health(app);
    json(response, httpStatus, body);
  }

  async function getMetrics(_request, response) {
    response.writeHead(200, { 'content-type': contentType }).end(await exposition());
  }

  async function listCars(_request, response) {
    const { value, cache: state } = await cache.remember('cars', 30, async () => {
      const { rows } = await pool.query('SELECT id, plate, model, price_per_day_cents FROM cars ORDER BY id');
      return rows;
    });
    json(response, 200, value, { 'x-cache': state });
  }

  async function listBookings(_request, response) {
    const { rows } = await pool.query(
      `SELECT b.id, b.car_id, b.starts_on::text, b.ends_on::text, c.${customerName} AS customer${noteColumn}
         FROM bookings b JOIN customers c ON c.id = b.customer_id ORDER BY b.id DESC LIMIT 50`,
    );
    json(response, 200, rows);
  }

  async function createBooking(request, response) {
    const { car_id: car, customer_id: customer, starts_on: from, ends_on: until, note } = await readJson(request);
    if (!car || !customer || !from || !until) {
      throw new HttpError(400, 'a booking needs car_id, customer_id, starts_on and ends_on');
    }
    const columns = ['car_id', 'customer_id', 'starts_on', 'ends_on'];
    const values = [car, customer, from, until];
    if (notes) {
      columns.push('note');
      values.push(note ?? null);
    }
    const places = values.map((_, index) => `$${index + 1}`).join(', ');
    const { rows } = await pool.query(
      `INSERT INTO bookings (${columns.join(', ')}) VALUES (${places}) RETURNING id`,
      values,
    );
    json(response, 201, { id: rows[0].id });
  }

  // A report that takes its time, as the field's do: the request that a switch must not cut.
  async function slowReport(_request, response) {
    // Asleep it holds no lock on a table, which would make every migration wait for it.
    await pool.query('SELECT pg_sleep($1)', [REPORT_SECONDS]);
    const { rows } = await pool.query('SELECT count(*)::int AS bookings FROM bookings');
    json(response, 200, rows[0]);
  }

  const guarded = (handler) => (request, response, parts) => {
    if (bookingsFail(fault)) throw new Error('this release fails on bookings after a while');
    return handler(request, response, parts);
  };

  async function putPhoto(request, response, { id }) {
    const { rowCount } = await pool.query('SELECT 1 FROM cars WHERE id = $1', [id]);
    if (!rowCount) throw new HttpError(404, `there is no car ${id}`);
    const photo = await readBody(request, PHOTO_LIMIT);
    const stored = await storage.put(`cars/${id}`, photo, request.headers['content-type'] ?? 'application/octet-stream');
    if (!stored.ok) throw new HttpError(502, `the object store answered ${stored.status}`);
    json(response, 201, { car: Number(id), bytes: photo.length });
  }

  async function getPhoto(_request, response, { id }) {
    const found = await storage.get(`cars/${id}`);
    if (found.status === 404) throw new HttpError(404, `car ${id} has no photo`);
    if (!found.ok) throw new HttpError(502, `the object store answered ${found.status}`);
    response.writeHead(200, { 'content-type': found.headers.get('content-type') ?? 'application/octet-stream' });
    response.end(Buffer.from(await found.arrayBuffer()));
  }

  return [
    ['GET', '/api/v1/health', getHealth],
    ['GET', '/api/v1/metrics', getMetrics],
    ['GET', '/api/v1/cars', listCars],
    ['GET', '/api/v1/bookings', guarded(listBookings)],
    ['POST', '/api/v1/bookings', guarded(createBooking)],
    ['GET', '/api/v1/reports/bookings', slowReport],
    ['POST', '/api/v1/reports/bookings', slowReport],
    ['PUT', '/api/v1/cars/:id/photo', putPhoto],
    ['GET', '/api/v1/cars/:id/photo', getPhoto],
  ].map(([method, endpoint, handler]) => ({
    method,
    endpoint,
    handler,
    pattern: new RegExp(`^${endpoint.replace(/:(\w+)/g, '(?<$1>\\d+)')}$`),
  }));
}
