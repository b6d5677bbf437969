//! `debug_handler`: a view into the running node for whoever may reach its port; in development
//! also on the main port. Upstream's `/debug/rooms`; Go's profiles have no counterpart here.

use std::io;
use std::net::TcpListener;

use actix_web::dev::Server;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};

use crate::room::contract::{RoomCall, RoomReply};
use crate::rooms::Rooms;

pub fn configure(config: &mut web::ServiceConfig, rooms: &Rooms) {
    config
        .app_data(Data::new(rooms.clone()))
        .route("/debug/rooms", web::get().to(all_rooms));
}

/// Serves the handler on a port of its own.
pub fn serve(listener: TcpListener, rooms: Rooms) -> io::Result<Server> {
    let factory = move || {
        let rooms = rooms.clone();
        App::new().configure(move |config| configure(config, &rooms))
    };
    let server = HttpServer::new(factory).workers(1).disable_signals();
    Ok(server.listen(listener)?.run())
}

/// Everything about every room.
async fn all_rooms(rooms: Data<Rooms>) -> HttpResponse {
    let mut inspections = Vec::new();
    for room in rooms.list(&[]).await {
        // One that ended meanwhile is no longer of interest.
        if let Ok(RoomReply::Inspection(room)) = rooms.call(&room.name, RoomCall::Inspect).await {
            inspections.push(room);
        }
    }
    HttpResponse::Ok().json(inspections)
}
