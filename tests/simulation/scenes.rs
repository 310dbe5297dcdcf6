//! Stories that are told as they are written: one thing happens, and what follows is looked at.

use std::rc::Rc;
use std::time::Duration;

use engine::net;
use tokio::time::sleep;

use super::{CONNECTOR, Running, World, in_virtual_time, load};

const WORKER: &str = "bootstrap.servers=b0:9092,b1:9092,b2:9092\n\
    offset.storage.topic=sim-offsets\noffset.storage.partitions=1\n\
    offset.storage.replication.factor=1\n";
/// Longer than anything takes that nothing hinders.
const SOON: Duration = Duration::from_secs(2);

/// A registry leaves before the first row that goes south, in the copy and again in the stream.
/// What went north before is seen all the same, in transactions that nobody has to end.
pub(crate) fn routes_wait_for_a_registry() {
    in_virtual_time(async {
        let world = Rc::new(World::new(1));
        world.judged.set(false);
        {
            let mut database = world.database.borrow_mut();
            (database.by_tid, database.copy_rest) = (true, Duration::from_millis(200));
        }
        let seen = |place: &str| {
            let mut records = 0;
            let topic = format!("sim.{place}");
            let cluster = &mut *world.cluster.borrow_mut();
            // What is due is done when somebody asks.
            cluster.settle(&world);
            cluster.committed(&topic, |_, _| records += 1);
            records
        };
        let leave = || {
            let back = net::now() + Duration::from_secs(30);
            world.registry.borrow_mut().down_until = Some(back);
        };
        let rows = |rows: &[(i32, &str)]| {
            let database = &mut *world.database.borrow_mut();
            let xid = database.begin();
            for &(id, place) in rows {
                let line = u64::from(id.unsigned_abs());
                database.put(xid, 0, None, Some((id, 1, Some(place))), line);
            }
            database.commit(xid, world.now_unix_us());
            world.changed.notify_waiters();
        };
        rows(&Vec::from_iter((1..=19).map(|id| (id, "sim.north"))));
        rows(&[(20, "sim.south")]);
        let connector = format!(
            "{CONNECTOR}transforms=u\n\
             transforms.u.type=io.debezium.transforms.ExtractNewRecordState\n\
             transforms.u.route.by.field=payload\n\
             key.converter=org.apache.kafka.connect.json.JsonConverter\n\
             value.converter=io.confluent.connect.avro.AvroConverter\n\
             value.converter.schema.registry.url=http://registry:8081\n\
             errors.retry.timeout=-1\nproducer.override.transaction.timeout.ms=2000\n"
        );
        let pipe = Running::start(&world, 0, &load(WORKER, &connector));
        while !world.has_seen("COPY") {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(300)).await;
        leave();
        sleep(Duration::from_secs(20)).await;
        assert_eq!((seen("north"), seen("south")), (19, 0), "in the copy");
        sleep(Duration::from_secs(20)).await;
        assert_eq!((seen("north"), seen("south")), (19, 1), "behind the copy");
        rows(&[(21, "sim.east")]);
        sleep(SOON).await;
        assert_eq!(seen("east"), 1);
        leave();
        rows(&[(22, "sim.north"), (23, "sim.west")]);
        sleep(Duration::from_secs(20)).await;
        assert_eq!((seen("north"), seen("west")), (20, 0), "in the stream");
        sleep(Duration::from_secs(20)).await;
        assert_eq!((seen("north"), seen("west")), (20, 1), "at the end");
        assert!(!world.has_seen("transaction timed out"));
        pipe.stop(&world).await;
        assert_eq!(*world.failure.borrow(), None);
    });
}
