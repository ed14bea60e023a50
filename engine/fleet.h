/*
 * The blades: slots, their connections, their states and the loads. One thread of its own runs an io_uring
 * loop that owns every connection and takes every decision; engine.h's engine_slot_*, engine_attr_*,
 * engine_show*, engine_log_*, engine_load, engine_run, engine_cancel and engine_watch are made here, under
 * the fleet's mutex, which nothing holds over a wait.
 */
#ifndef ENGINE_FLEET_H
#define ENGINE_FLEET_H

#include "captures.h"
#include "catalog.h"
#include "engine/engine.h"
#include "runnings.h"

struct fleet;

struct fleet_options {
    int store_fd; /* borrowed; the kept logs are below it, in logs/ */
    struct blob_store *store;
    struct catalog *catalog;
    struct runnings *runnings;
    struct captures *captures;
    const char *listen_host, *listen_port;
};

/* Loads the slots from the catalog, listens, starts the thread. The parts are borrowed and must outlive it.
 */
int fleet_new(const struct fleet_options *options, struct fleet **out, struct err *err) MUST_CHECK;
/* Ends every request with -EINTR, closes every connection, joins the thread. Instances go on. */
void fleet_free(struct fleet *fleet);

/* From the other parts: something that people can see has changed. Any thread, no lock held. */
void fleet_notify(struct fleet *fleet, enum engine_topic topic, uint32_t slot);

#endif
